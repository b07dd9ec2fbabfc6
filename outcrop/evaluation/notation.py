"""How numbers are written for people: the same digits and signs in sentences, tables and plots."""

from __future__ import annotations

import math

from outcrop.core.results import Estimate
from outcrop.evaluation.results import Comparison, MetricFacts

ABSENT = "–"


def is_share(metric: MetricFacts) -> bool:
    """Whether the metric runs from 0 to 1, so that readers expect percent."""
    return (metric.low, metric.high) == (0, 1)


def has_points(metric: MetricFacts) -> bool:
    """Whether differences of the metric are called points: shares and scores out of 100."""
    return is_share(metric) or metric.high == 100


def heading(metric: MetricFacts) -> str:
    """The metric's title with its unit, for a column or an axis: Accuracy, %."""
    return f"{metric.title}, %" if is_share(metric) else metric.title


def number(metric: MetricFacts, value: float) -> str:
    """A value in the metric's own digits, without its unit."""
    if has_points(metric):
        text = f"{100 * value if is_share(metric) else value:.1f}"
    else:
        text = f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def score(metric: MetricFacts, value: float) -> str:
    """A value with its unit: 86.1 %."""
    return number(metric, value) + (" %" if is_share(metric) else "")


def interval(metric: MetricFacts, estimate: Estimate, *, signed: bool = False) -> str:
    """An interval in the metric's digits: 84.0 to 88.0; or that there is none."""
    write = change if signed else number
    if estimate.low is None or estimate.high is None:
        return estimate.method
    return f"{write(metric, estimate.low)} to {write(metric, estimate.high)}"


def interval_in_sentence(metric: MetricFacts, estimate: Estimate, *, signed: bool = False) -> str:
    """An interval under its name: 95 % interval 84.0 to 88.0; or that there is none."""
    name = "" if estimate.low is None else "95 % interval "
    return name + interval(metric, estimate, signed=signed)


def change(metric: MetricFacts, value: float) -> str:
    """A signed difference without its unit: +12.3."""
    text = number(metric, value)
    return text if text.startswith("−") or not float(text.replace(",", "")) else f"+{text}"


def difference(metric: MetricFacts, value: float) -> str:
    """A signed difference with its unit: +12.3 points."""
    return change(metric, value) + (" points" if has_points(metric) else "")


def p_value(p: float) -> str:
    """p = 0.032, never 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def count(value: int) -> str:
    """1,000."""
    return f"{value:,}"


def rows(value: int) -> str:
    """1 row, 1,000 rows."""
    return f"{value:,} row{'' if value == 1 else 's'}"


def milliseconds(value: float | None) -> str:
    """12 ms, 1.24 s, or a dash where nothing was measured."""
    if value is None:
        return ABSENT
    if value >= 1000:
        return f"{value / 1000:,.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def minutes(value: float | None) -> str:
    """3.4, of less than one 0.05, or a dash where nothing was trained."""
    if value is None:
        return ABSENT
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}" if value >= 0.01 else "< 0.01"


def tokens(value: float | None) -> str:
    """A mean number of tokens."""
    return ABSENT if value is None else f"{value:,.1f}"


def share(value: float | None) -> str:
    """A share as percent."""
    return ABSENT if value is None else f"{100 * value:.1f} %"


def against_baseline(metric: MetricFacts, comparison: Comparison | None) -> str:
    """The paired difference with its interval: +12.3 (+9.8 to +14.9)."""
    if comparison is None:
        return ABSENT
    bounds = interval(metric, comparison.difference, signed=True)
    return f"{change(metric, comparison.difference.value)} ({bounds})"


def count_or_dash(value: int | None) -> str:
    """1,000, or a dash where the count does not apply."""
    return ABSENT if value is None else count(value)


def figures(value: float) -> str:
    """Three significant figures, never with an exponent: 0.00123, 12.3, 1,234."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits)}f}"


def figures_or_dash(value: float | None) -> str:
    """The same, or a dash where nothing is known."""
    return ABSENT if value is None else figures(value)
