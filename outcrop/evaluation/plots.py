"""The plots of the report, drawn as SVG for a given width: scores with intervals, differences, training curves."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from outcrop.core.svg import (
    LogScale,
    Scale,
    element,
    label,
    line,
    log_ticks,
    path,
    picture,
    text_width,
    tick_text,
    ticks,
)
from outcrop.evaluation.results import TrainingCurves

_MOST_POINTS = 300
_AXIS_PIXELS = 48
"""Left margin of the curves, equal for all of them so that their steps stand above each other."""


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
