"""Students as points of speed and quality: the plot, and the candidates' table of a distillation's report."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from outcrop.core.charts import NARROW, WIDE
from outcrop.core.page import Figure
from outcrop.core.svg import LogScale, Scale, element, label, line, log_ticks, path, picture, tick_text, ticks
from outcrop.evaluation.distillation import Candidate, DistillationFacts

_LEFT, _TOP, _BOTTOM, _HEIGHT = 56.0, 12.0, 228.0, 264


def pareto_figure(facts: DistillationFacts) -> Figure | None:
    """Every student that was trained, by how much faster it is and how good on validation rows; None for none."""
    points = [candidate for candidate in facts.candidates if candidate.quality is not None]
    if not points:
        return None
    wide, narrow = (_plot(points, facts, width) for width in (WIDE, NARROW))
    note = (
        "Quality on the validation rows after as much training as each student had, with 95 % intervals; the line "
        f"joins those that none beats in both. The upright line is the {facts.target.faster:g}× that were asked for."
    )
    return Figure("Speed and quality of the students", wide, narrow, note)


def _plot(points: Sequence[Candidate], facts: DistillationFacts, width: int) -> Markup:
    speeds = [_speed(candidate) for candidate in points] + [facts.target.faster]
    x = LogScale(min(speeds) / 1.2, max(speeds) * 1.2, _LEFT, width - 12)
    ends = [_ends(candidate) for candidate in points]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    space = 0.08 * (high - low) or 0.05
    y = Scale(low - space, high + space, _BOTTOM, _TOP)
    marks = ticks(y.low, y.high, 5)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    drawn = [line((_LEFT, y(mark)), (width - 12, y(mark)), "grid") for mark in marks]
    drawn += [label(_LEFT - 8, y(mark) + 4, tick_text(mark, step), "tick", "end") for mark in marks]
    drawn += [label(x(mark), _BOTTOM + 16, f"{mark:g}×", "tick", "middle") for mark in log_ticks(x.low, x.high)]
    drawn.append(label((_LEFT + width) / 2, _BOTTOM + 34, "times the teacher's speed", "axis", "middle"))
    drawn.append(line((x(facts.target.faster), _TOP), (x(facts.target.faster), _BOTTOM), "best"))
    front = sorted((x(_speed(c)), y(c.quality.value)) for c in points if c.on_front and c.quality)
    drawn.append(element("g", path(list(front), "curve"), class_="validation"))
    drawn += [_point(candidate, x, y, candidate.name == facts.student) for candidate in points]
    described = "; ".join(f"{c.name}: {_speed(c):.1f}×, {c.quality.value:.3f}" for c in points if c.quality)
    return picture("Speed and quality of the students", described, (width, _HEIGHT), "intervals", *drawn)


def _point(candidate: Candidate, x: LogScale, y: Scale, chosen: bool) -> Markup:
    assert candidate.quality is not None, "only students that were trained are drawn"
    place, (low, high) = x(_speed(candidate)), _ends(candidate)
    tip = element("title", f"{candidate.name}: {_speed(candidate):.1f}×, {candidate.quality.value:.3f}")
    whisker = line((place, y(low)), (place, y(high)), "whisker")
    dot = element("circle", tip, cx=place, cy=y(candidate.quality.value), r=5, class_="point")
    return element("g", whisker, dot, class_="row emphasis" if chosen else "row")


def _speed(candidate: Candidate) -> float:
    """The smaller of both speed-ups: what a user can count on."""
    return min(candidate.faster, candidate.throughput)


def _ends(candidate: Candidate) -> tuple[float, float]:
    assert candidate.quality is not None, "only students that were trained are drawn"
    value, low, high = candidate.quality.value, candidate.quality.low, candidate.quality.high
    return (value if low is None else low), (value if high is None else high)
