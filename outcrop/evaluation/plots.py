"""The plots of the report, drawn as SVG for a given width: scores with intervals, differences, training curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from outcrop.evaluation.results import TrainingCurves
from outcrop.evaluation.svg import (
    LogScale,
    Scale,
    element,
    fitted,
    label,
    line,
    log_ticks,
    path,
    picture,
    text_width,
    tick_text,
    ticks,
)

WIDE, NARROW = 864, 344
"""Widths in CSS pixels: each plot is drawn for a desk and for a phone, and the style sheet shows one."""

_MOST_POINTS = 300
_AXIS_PIXELS = 48
"""Left margin of the curves, equal for all of them so that their steps stand above each other."""


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot. text: the numbers as written; emphasis: the system the report is about."""

    name: str
    value: float
    low: float
    high: float
    text: str
    emphasis: bool = False


def interval_plot(
    title: str, rows: Sequence[Interval], width: int, *, bounds: tuple[float | None, float | None] = (None, None),
    undetectable: float | None = None,
) -> Markup:
    """A forest plot: one point with its interval per row.

    bounds: where the quantity ends; undetectable: draws a zero line and a band of true differences too small to see.
    """
    narrow = width < 600
    row_height, top = (46, 6) if narrow else (34, 6)
    names = 0.0 if narrow else min(0.3 * width, max(text_width(row.name) for row in rows) + 16)
    texts = 0.0 if narrow else max(text_width(row.text) for row in rows) + 16
    low, high = _range(rows, bounds, undetectable)
    x = Scale(low, high, names + 8, width - texts - 8)
    bottom = top + row_height * len(rows)
    drawn = [*_grid(x, top, bottom, narrow)]
    if undetectable is not None:
        drawn[:0] = [_band(x, undetectable, top, bottom)]
        drawn.append(line((x(0), top), (x(0), bottom), "zero"))
    for index, row in enumerate(rows):
        drawn.append(_interval_row(row, x, top + row_height * index, row_height, width, names))
    described = "; ".join(f"{row.name}: {row.text}" for row in rows)
    return picture(title, described, (width, bottom + 24), "intervals", *drawn)


def _range(
    rows: Sequence[Interval], bounds: tuple[float | None, float | None], undetectable: float | None
) -> tuple[float, float]:
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    if undetectable is not None:
        low, high = min(low, -undetectable), max(high, undetectable)
    space = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    least, most = bounds
    low = low - space if least is None else max(low - space, least)
    return low, high + space if most is None else min(high + space, most)


def _band(x: Scale, undetectable: float, top: float, bottom: float) -> Markup:
    start, end = x(-undetectable), x(undetectable)
    tip = element("title", "True differences this small are found in fewer than 80 of 100 such tests.")
    return element("rect", tip, x=start, y=top, width=end - start, height=bottom - top, class_="band")


def _grid(x: Scale, top: float, bottom: float, narrow: bool) -> list[Markup]:
    values = ticks(x.low, x.high, 4 if narrow else 8)
    step = values[1] - values[0] if len(values) > 1 else 1.0
    drawn = []
    for value in values:
        drawn.append(line((x(value), top), (x(value), bottom), "grid"))
        drawn.append(label(x(value), bottom + 16, tick_text(value, step), "tick", "middle"))
    return drawn


def _interval_row(row: Interval, x: Scale, top: float, height: float, width: float, names: float) -> Markup:
    narrow = names == 0
    y = top + (height - 14 if narrow else height / 2)
    baseline = top + 18 if narrow else y + 4
    room = width - text_width(row.text) - 24 if narrow else names - 12
    parts = [
        element("title", f"{row.name}: {row.text}"),
        element("rect", x=0, y=top, width=width, height=height, class_="hover"),
        label(0, baseline, fitted(row.name, room), "name"),
        label(width, baseline, row.text, "value", "end"),
        line((x(row.low), y), (x(row.high), y), "whisker"),
        line((x(row.low), y - 5), (x(row.low), y + 5), "whisker"),
        line((x(row.high), y - 5), (x(row.high), y + 5), "whisker"),
        element("circle", cx=x(row.value), cy=y, r=5, class_="point"),
    ]
    return element("g", *parts, class_="row emphasis" if row.emphasis else "row")


def loss_plot(curves: TrainingCurves, width: int) -> Markup:
    """Training and validation loss over steps, with the step whose weights were kept."""
    train = _thinned([(step, loss) for step, loss in curves.train])
    validation = [(step, loss) for step, loss, _ in curves.validation]
    described = f"{_described('training', curves.train)}; {_described('validation', validation)}. {curves.stop_reason}"
    series = [("train", "training loss", train, False), ("validation", "validation loss", validation, True)]
    return _line_plot("Loss", described, curves, series, (width, 274 if width > 600 else 234))


def metric_plot(curves: TrainingCurves, width: int) -> Markup | None:
    """The task metric on the validation rows over steps; None where it was not measured."""
    points = [(step, value) for step, _, value in curves.validation]
    if not any(value is not None for _, value in points):
        return None
    title = curves.metric_title or "Task metric"
    series = [("validation", f"{title} on validation rows", points, True)]
    return _line_plot(title, _described(title, points), curves, series, (width, 164))


Points = Sequence[tuple[int, float | None]]
LOG_RATIO = 20.0


def _line_plot(
    title: str, described: str, curves: TrainingCurves, series: Sequence[tuple[str, str, Points, bool]],
    size: tuple[int, int],
) -> Markup:
    width, height = size
    steps = [step for step, _ in curves.train] + [step for step, _, _ in curves.validation]
    values = [value for *_, points, _ in series for _, value in points if value is not None]
    y, y_ticks = _value_axis(values, (height - 36, 44))
    left = _AXIS_PIXELS
    x = Scale(min(steps, default=0), max(steps, default=1), left, width - 12)
    drawn = [label(left - 8, y(value) + 4, text, "tick", "end") for value, text in y_ticks]
    drawn += [line((left, y(value)), (width - 12, y(value)), "grid") for value, _ in y_ticks]
    drawn += _step_axis(x, height, width)
    drawn += _best_step(curves, x, (44, height - 36))
    used = [entry for entry in series if any(value is not None for _, value in entry[2])]
    for kind, name, points, dots in used:
        drawn.append(_series(kind, name, points, x, y, dots))
    drawn += _legend([(kind, name) for kind, name, _, _ in used], left)
    return picture(title, described, (width, height), "curves", *drawn)


def _value_axis(values: Sequence[float], span: tuple[float, float]) -> tuple[Scale | LogScale, list[tuple[float, str]]]:
    """The upright axis and its ticks; logarithmic where the values span more than LOG_RATIO, as a falling loss does."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high / low > LOG_RATIO:
        low, high = low / 1.1, high * 1.1
        return LogScale(low, high, *span), [(value, f"{value:g}") for value in log_ticks(low, high)]
    space = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low = 0.0 if 0 <= low < 0.25 * high else low - space
    marks = ticks(low, high + space, 5)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    return Scale(low, high + space, *span), [(value, tick_text(value, step)) for value in marks]


def _series(kind: str, name: str, points: Points, x: Scale, y: Scale | LogScale, dots: bool) -> Markup:
    placed = [None if value is None else (x(step), y(value)) for step, value in points]
    drawn = [path(placed, "curve")]
    alone = dots or len(points) == 1
    for (step, value), place in zip(points, placed, strict=True):
        if alone and place is not None and value is not None:
            tip = element("title", f"step {step:,}: {name} {value:.4g}")
            drawn.append(element("circle", tip, cx=place[0], cy=place[1], r=3.5, class_="dot"))
    return element("g", *drawn, class_=kind)


def _step_axis(x: Scale, height: float, width: float) -> list[Markup]:
    values = [value for value in ticks(x.low, x.high, 4 if width < 600 else 8) if value == int(value)]
    drawn = [label(x(value), height - 18, f"{value:,.0f}", "tick", "middle") for value in values]
    return [*drawn, label((x.start + x.end) / 2, height - 3, "step", "axis", "middle")]


def _best_step(curves: TrainingCurves, x: Scale, span: tuple[float, float]) -> list[Markup]:
    if curves.best_step is None:
        return []
    place, (top, bottom) = x(curves.best_step), span
    words = f"best: step {curves.best_step:,}"
    before = place + text_width(words) + 8 > x.end
    tip = element("title", f"The weights of step {curves.best_step:,} were kept. {curves.stop_reason}")
    drawn = [line((place, top - 14), (place, bottom), "best")]
    if x.high > curves.best_step:
        shade = element("rect", tip, x=place, y=top, width=x.end - place, height=bottom - top, class_="discarded")
        drawn.insert(0, shade)
    beside = place - 6 if before else place + 6
    return [*drawn, label(beside, top - 6, words, "best-label", "end" if before else "start")]


def _legend(entries: Sequence[tuple[str, str]], left: float) -> list[Markup]:
    drawn, x = [], left
    for kind, name in entries:
        mark = element("g", line((x, 10), (x + 18, 10), "curve"), class_=kind)
        drawn += [mark, label(x + 24, 14, name, "legend")]
        x += 24 + text_width(name) + 18
    return drawn


def _thinned(points: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """At most about 300 points, each the mean of its neighbours; a step without a finite loss stays a gap."""
    size = -(-len(points) // _MOST_POINTS)
    if size <= 1:
        return points
    thin: list[tuple[int, float | None]] = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        values = [value for _, value in bucket if value is not None]
        thin.append((bucket[-1][0], sum(values) / len(values) if len(values) == len(bucket) else None))
    return thin


def points_per_mean(curves: TrainingCurves) -> int:
    """How many training steps one drawn point averages."""
    return max(1, -(-len(curves.train) // _MOST_POINTS))


def _described(name: str, points: Points) -> str:
    finite = [(step, value) for step, value in points if value is not None]
    if not finite:
        return f"no {name} values"
    (first, start), (last, end) = finite[0], finite[-1]
    return f"{name} from {start:.4g} at step {first:,} to {end:.4g} at step {last:,}"
