"""The result table in the terminal and as Markdown, and how numbers are written."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from outcrop.evaluation import notation
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example
from outcrop.evaluation.results import EvaluationResult, MetricFacts
from outcrop.evaluation.table import markdown_table, result_table, terminal_table
from tests.evaluation.fakes import accuracies, data, labelled

ACCURACY = METRICS.load("accuracy").facts([])
BITS = METRICS.load("bits_per_byte").facts([])
BLEU = METRICS.load("bleu").facts([Example("", ("a",), "a")])


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    base, tuned = accuracies(0, 400, 0.5, 0.9)
    systems = [labelled("base | few", base, invalid=0.2), replace(labelled("tuned", tuned), train_minutes=4.25)]
    return assess("t", data(400), systems)


def test_table_has_one_row_per_system_and_only_measured_columns(result: EvaluationResult) -> None:
    table = result_table(result)
    assert table.columns == (
        "Accuracy, %", "Against baseline, points", "Verdict", "Invalid answers", "Output tokens",
        "Latency p50 (p95)", "Training minutes",
    )
    base, tuned = table.rows
    assert [cell.text for cell in base.cells[1:3]] == ["baseline", notation.ABSENT]
    assert (tuned.verdict, tuned.emphasis, tuned.cells[2].text) == ("better", True, "better")
    assert tuned.cells[-1].text == "4.2"
    assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_short_trainings_are_not_none() -> None:
    told = [notation.minutes(value) for value in (None, 0.0, 0.004, 0.047, 0.96, 1.04, 1234.56)]
    assert told == [notation.ABSENT, "< 0.01", "< 0.01", "0.05", "0.96", "1.0", "1,234.6"]


def test_unmeasured_columns_are_left_out(result: EvaluationResult) -> None:
    bare = [
        replace(s, latency_p50_ms=None, latency_p95_ms=None, train_minutes=None, output_tokens_mean=None)
        for s in result.systems
    ]
    columns = result_table(replace(result, systems=tuple(bare))).columns
    assert columns == ("Accuracy, %", "Against baseline, points", "Verdict", "Invalid answers")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_terminal_table_is_complete(result: EvaluationResult, width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(terminal_table(result))
    shown = console.file.getvalue()
    found = result.system("tuned").metrics["accuracy"]
    for text in ("base | few", "better", "p < 0.001", f"{100 * found.value:.1f}", f"{100 * found.low:.1f} to"):
        assert text in shown


def test_markdown_table_escapes_names(result: EvaluationResult) -> None:
    head, rule, base, tuned = markdown_table(result).splitlines()
    assert head.startswith("| System | Accuracy, % |")
    assert rule.count("---:") == 7
    assert base.startswith("| base \\| few | ")
    assert tuned.startswith("| **tuned** | ")
    assert "better (p < 0.001)" in tuned


@pytest.mark.parametrize(
    ("metric", "value", "score", "difference"),
    [
        (ACCURACY, 0.8612, "86.1 %", "+86.1 points"),
        (ACCURACY, -0.0231, "−2.3 %", "−2.3 points"),
        (ACCURACY, -0.0001, "0.0 %", "0.0 points"),
        (BLEU, 27.345, "27.3", "+27.3 points"),
        (BITS, 1.23456, "1.235", "+1.235"),
        (BITS, 12345.6, "12,345.6", "+12,345.6"),
    ],
)
def test_numbers_as_written(metric: MetricFacts, value: float, score: str, difference: str) -> None:
    assert notation.score(metric, value) == score
    assert notation.difference(metric, value) == difference


def test_p_values_and_units_as_written() -> None:
    assert [notation.p_value(p) for p in (0, 0.0009, 0.0321, 0.2, 1)] == [
        "p < 0.001", "p < 0.001", "p = 0.032", "p = 0.20", "p = 1.00",
    ]
    assert [notation.milliseconds(ms) for ms in (None, 1.25, 12.4, 1240)] == ["–", "1.2 ms", "12 ms", "1.24 s"]
    assert [notation.rows(n) for n in (1, 1000)] == ["1 row", "1,000 rows"]


def test_what_limits_the_scores_stands_with_them_in_every_form(result: EvaluationResult) -> None:
    limited = replace(result, limits=("12 of 40 test rows are training rows.",))
    assert result_table(limited).columns[0] == "Accuracy, % †"
    console = Console(width=100, file=io.StringIO())
    console.print(terminal_table(limited))
    for shown in (console.file.getvalue(), markdown_table(limited)):
        assert "† 12 of 40 test rows are training rows." in shown
    assert "†" not in markdown_table(result)
