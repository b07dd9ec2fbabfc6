"""Results as text."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
from rich.console import Console

from outcrop.cli.results import ROWS, figures_and_tables, render
from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Candidate, DistillationFacts, Proof, Speed, Target
from outcrop.evaluation.results import DataFacts, EvaluationResult, MetricFacts, SystemResult


def shown(fields: dict) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(figures_and_tables(fields))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_figures_have_words_and_plain_numbers() -> None:
    assert shown({"best_step": 1200, "exact_match": 0.8125, "resumed": False, "base": None}) == (
        "best step    1,200\nexact match  0.8125\nresumed      no\nbase         –"
    )


def test_objects_are_indented_parts_and_lists_of_objects_tables() -> None:
    text = shown({
        "to": "out",
        "rows": {"train": 900, "test": 100},
        "systems": [{"name": "base", "score": 0.5}, {"name": "tuned", "score": 0.75}],
    })  # fmt: skip
    assert text.splitlines() == [
        "to  out", "", "rows", "  train  900", "  test   100", "", "systems",
        "  name   score", "  base     0.5", "  tuned   0.75",
    ]  # fmt: skip


def test_numbers_keep_their_intervals() -> None:
    estimate = {"value": 0.8125, "low": 0.78, "high": 0.84, "n": 400, "method": "Wilson"}
    assert shown({"score": estimate}) == "score  0.8125 (0.78 to 0.84)"
    table = shown({"scores": [{"name": "held-out", "before": None, "after": estimate}]}).splitlines()
    assert table[-1].split() == ["held-out", "–", "0.8125", "(0.78", "to", "0.84)"]


def test_one_row_has_no_interval_to_keep() -> None:
    estimate = {"value": 1.5, "low": None, "high": None, "n": 1, "method": "no interval from one row"}
    assert shown({"score": estimate}) == "score  1.5 (no interval from one row)"


def test_what_is_nested_in_a_table_stays() -> None:
    text = shown({"rows": [{"name": "a", "counts": {"train": 3, "test": 1}, "labels": ["x", "y"]}]})
    assert "train 3, test 1" in text
    assert "x, y" in text


def test_the_table_of_candidates_fits_a_terminal() -> None:
    name = "depth 50 %, neurons 50 %, heads 50 %, channels 50 %, vocabulary 1,234"
    fate = "left behind after 15% of a training"
    quality = Estimate(0.8123, 0.7, 0.9, 9, "Wilson")
    tried = Candidate(name, Speed(1.0, 2.0, 3, 4.0), 8.04, 7.0, quality, 9, fate, int8=True)
    proof = Proof("accuracy", 0.0, 0.0, True, 9, None, "Tango score", tried.quality)  # type: ignore[arg-type]
    facts = DistillationFacts(
        Target(2, 5), "by sequences", "big", name, (tried,), proof, proof.agreement, proof.agreement, {}, (1.0, 0.1),
        True, "loss", 1, 0,
    )  # fmt: skip

    @dataclass(frozen=True)
    class Made:
        facts: DistillationFacts

        def as_dict(self) -> dict[str, Any]:
            return {"facts": self.facts.as_dict()}

    file = io.StringIO()
    Console(file=file, width=80).print(render(Made(facts)))
    lines = file.getvalue().splitlines()
    start = next(row for row, line in enumerate(lines) if line.strip() == "candidates")
    assert lines[start + 1].split() == ["name", "faster", "throughput", "quality", "what", "became", "of", "it"]
    assert lines[start + 2].split()[:4] == ["depth", "50", "%,", "neurons"]
    assert "8.0×    7.0×         0.8123  left behind after 15%" in lines[start + 2]
    assert "timed in int8" in " ".join(line.strip() for line in lines[start + 2 :])


def test_long_tables_and_lists_say_what_is_left_out() -> None:
    text = shown({"labels": [f"l{i}" for i in range(77)], "rows": [{"row": i} for i in range(ROWS + 5)]})
    assert "l7 … (77 in all)" in text
    assert "l8" not in text
    assert "… and 5 more rows" in text


def test_nothing_is_said_to_be_nothing() -> None:
    assert shown({"notes": [], "extra": {}}) == "notes  none\nextra  none"


def test_text_is_no_markup_and_no_control() -> None:
    assert shown({"name": "[red]x\x1b[2J"}) == "name  [red]x\\x1b[2J"


def system(name: str, score: float) -> SystemResult:
    return SystemResult(
        name, "", {"accuracy": Estimate(score, score - 0.05, score + 0.05, 400, "Wilson")}, ("a",) * 400
    )


EVALUATION = EvaluationResult(
    title="Intents",
    data=DataFacts("test.jsonl", "sha256:0", 400, looks=2, sealed=True),
    metrics=(MetricFacts("accuracy", "Accuracy", "higher", "per_example", 0, 1, ""),),
    systems=(system("base", 0.25), system("tuned", 0.875)),
    candidate="tuned",
    notes=("Latency was measured on 2 processors.",),
)


@dataclass(frozen=True)
class Tuned:
    """A result that has an evaluation among its parts."""

    model: str
    evaluation: EvaluationResult

    def as_dict(self) -> dict:
        return asdict(self)


@pytest.mark.parametrize("result", [EVALUATION, Tuned("out/model", EVALUATION)], ids=["itself", "a part"])
def test_evaluations_are_shown_as_their_table(command, result) -> None:
    command.provide("evaluate", lambda **_: result)
    args = ("evaluate", "--model", "m", "--data", "d", "--to", "o")
    text = command(*args).stdout
    assert "82.5 to 92.5" in text
    assert "400 rows of test.jsonl, look number 2 at this sealed set" in text
    assert "Latency was measured on 2 processors." in text
    assert "o/report.html" in text
    assert ("out/model" in text) == isinstance(result, Tuned)
    assert "answers" not in text
    assert json.loads(command(*args, "--output", "json").stdout)


def test_only_parts_of_a_split_are_called_sealed(command) -> None:
    plain = replace(EVALUATION, data=replace(EVALUATION.data, sealed=False))
    command.provide("evaluate", lambda **_: plain)
    shown = command("evaluate", "--model", "m", "--data", "d", "--to", "o").stdout
    assert "400 rows of test.jsonl, look number 2 at these rows" in shown
