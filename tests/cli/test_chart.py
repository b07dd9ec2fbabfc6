"""Curves in a terminal."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.cli.chart import BLOCKS, BRAILLE, Curve, History, Point, Scale, chart, sparkline

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def rows(*curves: Curve, width: int = 20, height: int = 4) -> list[str]:
    return [line.plain for line in chart(curves, width, height)]


def test_sparkline_spans_all_blocks() -> None:
    assert sparkline(range(8), 8) == BLOCKS
    assert sparkline(range(7, -1, -1), 8) == BLOCKS[::-1]


def test_sparkline_of_many_values_shows_means() -> None:
    assert sparkline([1.0] * 500 + [2.0] * 500, 4) == "▁▁██"


@pytest.mark.parametrize(
    ("given_values", "expected"), [([], ""), ([math.nan], ""), ([3.0], "▅"), ([2.0, math.inf, 2.0], "▅▅")]
)
def test_sparkline_of_little(given_values: list[float], expected: str) -> None:
    assert sparkline(given_values, 10) == expected


@given(values, st.integers(1, 80))
def test_sparkline_fits(series: list[float], width: int) -> None:
    line = sparkline(series, width)
    assert len(line) == min(width, len(series))
    assert set(line) <= set(BLOCKS)


@given(values, st.integers(2, 64))
def test_history_is_bounded_and_keeps_the_mean(series: list[float], capacity: int) -> None:
    history = History(capacity)
    for step, value in enumerate(series):
        history.add(step, value)
    points = history.points()
    assert len(points) <= capacity
    assert [point.x for point in points] == sorted(point.x for point in points)
    low, high = min(series), max(series)
    tolerance = 1e-6 * max(abs(low), abs(high), 1)
    assert all(low - tolerance <= point.y <= high + tolerance for point in points)


def test_history_merges_equally_many_values() -> None:
    history = History(4)
    for step in range(16):
        history.add(step, float(step))
    strides = {round(b.x - a.x, 6) for a, b in pairwise(history.points())}
    assert len(strides) == 1


def test_history_leaves_out_what_is_not_finite() -> None:
    history = History()
    for value in (1.0, math.nan, math.inf, 2.0):
        history.add(0, value)
    assert [point.y for point in history.points()] == [1.0, 2.0]


def test_scale_is_logarithmic_for_wide_positive_values() -> None:
    assert Scale.of([1.0, 4.0]).logarithmic is False
    assert Scale.of([0.0, 40.0]).logarithmic is False
    scale = Scale.of([1.0, 100.0])
    assert scale.logarithmic
    assert scale.share(10.0) == pytest.approx(0.5)


def test_chart_draws_a_falling_line() -> None:
    falling = rows(Curve([Point(0, 1.0), Point(10, 0.0)], "cyan"), width=4, height=2)
    assert falling == ["⠑⢄  ", "  ⠑⢄"]


def test_chart_of_one_point_and_of_none() -> None:
    assert any(char != " " for row in rows(Curve([Point(5, 2.0)], "cyan")) for char in row)
    assert rows(Curve([], "cyan"), width=3, height=2) == ["   ", "   "]


def test_curves_share_axes_and_later_ones_lie_on_top() -> None:
    low = Curve([Point(0, 0.0), Point(10, 0.0)], "cyan")
    high = Curve([Point(0, 1.0), Point(10, 1.0)], "yellow")
    top, *_, bottom = chart([low, high], 10, 4)
    assert {str(span.style) for span in top.spans} == {"yellow"}
    assert {str(span.style) for span in bottom.spans} == {"cyan"}
    over = chart([low, Curve(low.points, "yellow")], 10, 4)
    assert {str(span.style) for line in over for span in line.spans} == {"yellow"}


def test_a_dotted_curve_has_gaps() -> None:
    points = [Point(0, 0.0), Point(10, 0.0)]
    assert "".join(rows(Curve(points, "cyan", dotted=True))) != "".join(rows(Curve(points, "cyan")))


@given(values, st.integers(1, 60), st.integers(1, 8))
def test_chart_has_the_size_asked_for(series: list[float], width: int, height: int) -> None:
    lines = rows(Curve([Point(i, y) for i, y in enumerate(series)], "cyan"), width=width, height=height)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)
    assert all(char == " " or BRAILLE < ord(char) < BRAILLE + 256 for line in lines for char in line)
