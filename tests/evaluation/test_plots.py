"""Scales, ticks and fitted text: nothing leaves its drawing."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.core.charts import NARROW, WIDE, Interval, interval_plot
from outcrop.core.svg import Scale, element, fitted, text_width, tick_text, ticks
from outcrop.evaluation.heatmap import confused_pairs, heat_map
from outcrop.evaluation.plots import loss_plot, metric_plot, points_per_mean
from outcrop.evaluation.results import TrainingCurves


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_round_inside_and_few(low: float, span: float, wanted: int) -> None:
    found = ticks(low, low + span, wanted)
    assert len(found) <= wanted + 1
    assert all(low - 1e-6 * span <= value <= low + span * 1.000001 for value in found)
    if len(found) > 1:
        step = found[1] - found[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(mantissa - digit) for digit in (1, 2, 5, 10)) < 1e-3


def test_tick_text_has_the_digits_its_step_needs() -> None:
    assert [tick_text(value, 0.25) for value in (0.25, -0.5)] == ["0.2", "−0.5"]
    assert tick_text(1200, 200) == "1,200"
    assert tick_text(0.001, 0.0005) == "0.0010"
    assert tick_text(-1e-12, 0.1) == "0.0"


@given(st.text(max_size=60), st.floats(20, 200))
def test_fitted_text_fits(text: str, pixels: float) -> None:
    found = fitted(text, pixels)
    assert text_width(found) <= pixels
    assert found.endswith("…") or found == " ".join(text.split())


def test_scale_maps_and_holds_values_inside() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (-5, 0, 5, 10, 99)] == [100, 100, 150, 200, 200]
    assert Scale(3, 3, 0, 10)(3) == 0


def test_elements_escape_texts_and_attributes() -> None:
    drawn = element("text", "a < b & c", class_='x" onclick="y', text_anchor="end", transform=None)
    assert drawn == '<text class="x&#34; onclick=&#34;y" text-anchor="end">a &lt; b &amp; c</text>'


def positions(drawing: str) -> list[float]:
    return [float(value) for value in re.findall(r' (?:x|x1|x2|cx)="(-?[\d.]+)"', drawing)]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_interval_plot_stays_inside_its_width(width: int) -> None:
    rows = [
        Interval("base " * 30, 12.0, 10.0, 14.0, "12.0 (10.0 to 14.0)"),
        Interval("tuned", 97.0, 95.0, 99.9, "97.0 (95.0 to 99.9)", emphasis=True),
    ]
    drawing = interval_plot("Accuracy", rows, width, bounds=(0, 100))
    assert all(-0.01 <= x <= width + 0.01 for x in positions(drawing))
    assert "row emphasis" in drawing
    assert "12.0 (10.0 to 14.0)" in drawing


def test_difference_plot_shows_zero_and_what_cannot_be_seen() -> None:
    rows = [Interval("tuned", 4.0, 3.0, 5.0, "+4.0 (+3.0 to +5.0)")]
    drawing = interval_plot("Difference", rows, WIDE, undetectable=1.5)
    assert 'class="zero"' in drawing
    assert 'class="band"' in drawing
    assert 'class="zero"' not in interval_plot("Accuracy", rows, WIDE)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("best", [1, 500, 990])
def test_curves_stay_inside_their_width(width: int, best: int) -> None:
    train = tuple((step, 3 / step) for step in range(1, 1001))
    validation = tuple((step, 4 / step, step / 1000) for step in range(10, 1001, 70))
    curves = TrainingCurves(train, validation, best, "Stopped.", "Accuracy")
    drawn = [loss_plot(curves, width), metric_plot(curves, width)]
    for drawing in drawn:
        assert drawing is not None
        assert all(0 <= x <= width for x in positions(drawing))
        assert f"best: step {best}" in drawing
    assert points_per_mean(curves) == 4
    assert metric_plot(TrainingCurves(train), width) is None


def test_averaged_training_loss_keeps_its_mean() -> None:
    curves = TrainingCurves(tuple((step, float(step % 4)) for step in range(1, 1201)))
    line = re.search(r'<g class="train"><path d="([^"]+)"', loss_plot(curves, WIDE))
    assert line is not None
    heights = {point.split(" ")[1] for point in re.findall(r"[ML]([\d.]+ [\d.]+)", line[1])}
    assert len(heights) == 1


def test_pairs_are_those_confused_most_without_invalid_answers() -> None:
    counts = ((5, 2, 0, 9), (0, 7, 1, 0), (4, 0, 3, 0))
    found = confused_pairs(("a", "b", "c"), counts, most=2)
    assert [(pair.true, pair.given, pair.count, pair.rows) for pair in found] == [("c", "a", 4, 7), ("a", "b", 2, 16)]


def test_heat_map_of_two_labels_names_every_cell() -> None:
    drawing = heat_map("Confusion", ("yes", "no"), ((3, 1, 0), (0, 2, 2)), WIDE)
    assert "yes → no: 1 of 4 rows, 25 %" in drawing
    assert "no → invalid: 2 of 4 rows, 50 %" in drawing
    assert "5 of 8 rows on the diagonal, 2 answers outside the 2 labels" in drawing
