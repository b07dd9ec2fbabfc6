"""Charts in SVG for a given width: intervals on one axis, bars, distributions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from outcrop.core.svg import Scale, element, fitted, label, line, picture, text_width, tick_text, ticks

WIDE, NARROW = 864, 344
"""Widths in CSS pixels: each plot is drawn for a desk and for a phone, and the style sheet shows one."""


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
    title: str,
    rows: Sequence[Interval],
    width: int,
    *,
    bounds: tuple[float | None, float | None] = (None, None),
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


@dataclass(frozen=True)
class Bar:
    """One bar. lost: what follows the value in the colour of loss; text: the numbers as written."""

    name: str
    value: float
    text: str
    lost: float = 0.0


def bar_chart(title: str, bars: Sequence[Bar], width: int) -> Markup:
    """Horizontal bars from zero, one per row; on a narrow page the name stands above its bar."""
    narrow = width < 600
    height = 40 if narrow else 24
    names = 0.0 if narrow else min(0.34 * width, max(text_width(bar.name) for bar in bars) + 16)
    texts = max(text_width(bar.text) for bar in bars) + 12
    x = Scale(0, max(bar.value + bar.lost for bar in bars) or 1.0, names, width - (0 if narrow else texts))
    drawn = []
    for index, bar in enumerate(bars):
        top = index * height + (20 if narrow else 4)
        baseline = index * height + (15 if narrow else 16)
        room = width - texts if narrow else names - 12
        end = x(bar.value)
        parts = [
            element("title", f"{bar.name}: {bar.text}"),
            label(0, baseline, fitted(bar.name, room), "name"),
            element("rect", x=x.start, y=top, width=max(end - x.start, 0.5), height=14, class_="bar"),
            label(width, baseline, bar.text, "value", "end"),
        ]
        if bar.lost:
            gone = x(bar.value + bar.lost) - end
            parts.append(element("rect", x=end, y=top, width=max(gone, 1.0), height=14, class_="lost"))
        drawn.append(element("g", *parts, class_="row"))
    described = "; ".join(f"{bar.name}: {bar.text}" for bar in bars)
    return picture(title, described, (width, height * len(bars) + 4), "bars", *drawn)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], width: int, axis: str) -> Markup:
    """Counts between edges as upright bars. edges: one more than counts, rising; axis: what the values are."""
    left, top, bottom = 48.0, 8.0, 168.0
    x = Scale(edges[0], edges[-1], left, width - 4)
    y = Scale(0, max(counts) or 1, bottom, top)
    drawn = []
    values = ticks(0, y.high, 4)
    for value in values:
        drawn += [line((left, y(value)), (width - 4, y(value)), "grid")]
        drawn += [label(left - 6, y(value) + 4, tick_text(value, values[-1] or 1.0), "tick", "end")]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        tip = element("title", f"{low:,.0f} to {high:,.0f}: {count:,}")
        place = {"x": x(low) + 0.5, "width": max(x(high) - x(low) - 1, 0.5)}
        drawn.append(element("rect", tip, y=y(count), height=bottom - y(count), class_="bar", **place))
    for value in ticks(x.low, x.high, 4 if width < 600 else 8):
        drawn.append(label(x(value), bottom + 16, tick_text(value, 1.0), "tick", "middle"))
    drawn.append(label((x.start + x.end) / 2, bottom + 34, axis, "axis", "middle"))
    return picture(title, f"{sum(counts):,} rows from {edges[0]:,.0f} to {edges[-1]:,.0f}", (width, bottom + 40),
                   "histogram", *drawn)  # fmt: skip
