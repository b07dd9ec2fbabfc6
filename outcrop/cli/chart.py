"""Curves in a terminal: a history of bounded size, a one-line sparkline and a braille chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot of a braille cell: DOTS[column][row], row 0 at the top."""


class Point(NamedTuple):
    """One measured value: x in optimizer steps."""

    x: float
    y: float


class History:
    """A series of any length in at most `capacity` points, each the mean of equally many values.

    A new list replaces the old one when points are merged, so that another thread may read while this one adds.
    """

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._merged: list[Point] = []
        self._pending: list[Point] = []
        self._stride = 1

    def add(self, x: float, y: float) -> None:
        """Add a value; NaN and infinite ones have no place on a chart and are left out."""
        if not math.isfinite(y):
            return
        self._pending.append(Point(x, y))
        if len(self._pending) < self._stride:
            return
        self._merged.append(_mean_point(self._pending))
        self._pending = []
        if len(self._merged) >= self._capacity:
            self._merged = [_mean_point(self._merged[i : i + 2]) for i in range(0, len(self._merged), 2)]
            self._stride *= 2

    def points(self) -> list[Point]:
        """The points so far, oldest first; the last may be the mean of fewer values than the others."""
        merged, pending = self._merged, self._pending
        return [*merged, _mean_point(pending)] if pending else list(merged)


@dataclass(frozen=True)
class Curve:
    """One line of a chart. dotted tells it from a solid one where there is no colour."""

    points: Sequence[Point]
    style: str
    dotted: bool = False


class Scale(NamedTuple):
    """The vertical axis: its ends, and whether it is logarithmic."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """The scale that holds all values: logarithmic where they are positive and the largest is 5 times the least."""
        seen = list(values)
        low, high = min(seen), max(seen)
        return cls(low, high, low > 0 and high >= 5 * low)

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end, 0.5 on an axis of no height."""
        if self.high <= self.low:
            return 0.5
        if self.logarithmic:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` block characters, lowest to highest value; each is the mean of the values it stands for."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    columns = _columns([Point(i, y) for i, y in enumerate(finite)], min(width, len(finite)), 0, len(finite) - 1)
    means = [y for y in columns if y is not None]
    scale = Scale.of(means)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(scale.share(mean) * len(BLOCKS)))] for mean in means)


def chart(curves: Sequence[Curve], width: int, height: int) -> list[Text]:
    """`height` lines of `width` braille cells with all curves over a common time axis; later curves lie on top.

    Curves without points are left out; with no point at all the lines are empty.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return [Text(" " * width) for _ in range(height)]
    scale = Scale.of(point.y for curve in drawn for point in curve.points)
    first = min(curve.points[0].x for curve in drawn)
    last = max(curve.points[-1].x for curve in drawn)
    bits = [[0] * width for _ in range(height)]
    styles = [[""] * width for _ in range(height)]
    for curve in drawn:
        levels = _levels(_columns(curve.points, 2 * width, first, last), scale, 4 * height)
        for column, row in _dots(levels, curve.dotted):
            bits[row // 4][column // 2] |= DOTS[column % 2][row % 4]
            styles[row // 4][column // 2] = curve.style
    return [_line(*row) for row in zip(bits, styles, strict=True)]


def _mean_point(points: Sequence[Point]) -> Point:
    return Point(sum(point.x for point in points) / len(points), sum(point.y for point in points) / len(points))


def _columns(points: Sequence[Point], count: int, first: float, last: float) -> list[float | None]:
    """The mean of the points in each of `count` columns; gaps between points are interpolated, ends stay None."""
    step = (last - first) / max(count - 1, 1) or 1.0
    sums, counts = [0.0] * count, [0] * count
    for point in points:
        column = min(count - 1, max(0, round((point.x - first) / step)))
        sums[column] += point.y
        counts[column] += 1
    filled = [i for i in range(count) if counts[i]]
    means: list[float | None] = [sums[i] / counts[i] if counts[i] else None for i in range(count)]
    for left, right in pairwise(filled):
        start, end = sums[left] / counts[left], sums[right] / counts[right]
        for column in range(left + 1, right):
            means[column] = start + (end - start) * (column - left) / (right - left)
    return means


def _levels(columns: Sequence[float | None], scale: Scale, rows: int) -> list[int | None]:
    """The dot row of each column, 0 at the top."""
    return [None if y is None else round((1 - scale.share(y)) * (rows - 1)) for y in columns]


def _dots(levels: Sequence[int | None], dotted: bool) -> Iterable[tuple[int, int]]:
    """The dots of a curve; a solid one is joined vertically between neighbours."""
    before: int | None = None
    for column, level in enumerate(levels):
        if level is None:
            before = None
            continue
        if dotted:
            if column % 3 == 0:
                yield column, level
            continue
        yield column, level
        if before is not None:
            step = 1 if level > before else -1
            yield from ((column, row) for row in range(before + step, level, step))
        before = level


def _line(bits: Sequence[int], styles: Sequence[str]) -> Text:
    """A row of cells as text, with one span for each run of equal style."""
    line = Text(no_wrap=True)
    start = 0
    for end in range(1, len(bits) + 1):
        if end == len(bits) or styles[end] != styles[start]:
            line.append("".join(chr(BRAILLE + cell) if cell else " " for cell in bits[start:end]), styles[start])
            start = end
    return line
