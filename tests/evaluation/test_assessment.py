"""From answers to a result: defaults, choices, refusals, and the result's way through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.evaluation.assessment import SAMPLES, assess
from outcrop.evaluation.comparison import headline
from outcrop.evaluation.results import EvaluationResult, TrainingCurves
from tests.evaluation.fakes import LABELS, accuracies, data, labelled, written


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    zero, few, tuned = accuracies(0, 240, 0.1, 0.5, 0.9)
    systems = [labelled("zero-shot", zero, invalid=0.5), labelled("5 shots", few), labelled("tuned", tuned)]
    return assess("Support intents", data(240), systems)


def test_defaults_are_the_last_system_against_the_strongest_other(result: EvaluationResult) -> None:
    assert (result.candidate, result.baseline) == ("tuned", "5 shots")
    assert [metric.name for metric in result.metrics] == ["accuracy", "macro_f1"]
    assert [(c.metric, c.system) for c in result.comparisons] == [
        ("accuracy", "zero-shot"), ("accuracy", "tuned"), ("macro_f1", "zero-shot"), ("macro_f1", "tuned"),
    ]
    decisive = result.comparison("accuracy", "tuned")
    assert decisive is not None
    assert result.minimum_detectable == decisive.minimum_detectable
    assert headline(result) == decisive.sentence
    assert decisive.verdict == "better"


def test_systems_carry_answers_costs_and_confusion(result: EvaluationResult) -> None:
    zero = result.system("zero-shot")
    assert zero.invalid_answers
    assert (zero.output_tokens_mean, zero.latency_p50_ms, zero.stopped_share) == (3, 19.5, 1)
    assert zero.correct is not None
    assert sum(zero.correct) / 240 == pytest.approx(zero.metrics["accuracy"].value)
    counts = result.confusion["zero-shot"]
    assert (len(counts), len(counts[0])) == (len(LABELS), len(LABELS) + 1)
    assert sum(map(sum, counts)) == 240
    assert sum(row[-1] for row in counts) == zero.invalid_answers


def test_samples_show_rows_that_flipped_both_ways(result: EvaluationResult) -> None:
    kinds = [sample.change for sample in result.samples]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        kind: wanted for kind, wanted in SAMPLES.items() if kind != "shown"
    }
    base, tuned = result.system("5 shots").correct, result.system("tuned").correct
    assert base is not None
    assert tuned is not None
    for sample in result.samples:
        moved = tuned[sample.row - 1] - base[sample.row - 1]
        assert {"gained": 1, "lost": -1}.get(sample.change, 0) == moved
        assert sample.answers["tuned"] == result.system("tuned").answers[sample.row - 1]


def test_result_survives_json(result: EvaluationResult) -> None:
    text = json.dumps(result.as_dict(), allow_nan=False)
    assert EvaluationResult.from_dict(json.loads(text)) == result
    curves = TrainingCurves(((1, 2.5), (2, None)), ((2, 2.25, None),), 2, "patience")
    assert TrainingCurves.from_dict(json.loads(json.dumps(curves.as_dict()))) == curves


def test_result_refuses_what_it_did_not_write(result: EvaluationResult) -> None:
    good = result.as_dict()
    with pytest.raises(DataError, match=r"Unknown field sytems\. Did you mean: systems\?"):
        EvaluationResult.from_dict({**good, "sytems": []})
    with pytest.raises(DataError, match="is not int") as caught:
        EvaluationResult.from_dict({**good, "data": {**good["data"], "rows": "many"}})
    assert caught.value.where == "EvaluationResult.data.rows"
    with pytest.raises(DataError, match="missing 1 required"):
        EvaluationResult.from_dict({name: value for name, value in good.items() if name != "title"})
    with pytest.raises(DataError, match="is not one of better, worse"):
        EvaluationResult.from_dict({**good, "comparisons": [{**good["comparisons"][0], "verdict": "great"}]})


def test_assessment_is_repeatable(result: EvaluationResult) -> None:
    zero, few, tuned = accuracies(0, 240, 0.1, 0.5, 0.9)
    systems = [labelled("zero-shot", zero, invalid=0.5), labelled("5 shots", few), labelled("tuned", tuned)]
    assert assess("Support intents", data(240), systems) == result
    other = assess("Support intents", data(240), systems, candidate="5 shots", baseline="zero-shot", seed=1)
    assert (other.candidate, other.baseline) == ("5 shots", "zero-shot")


def test_one_system_has_nothing_to_compare() -> None:
    only = assess("t", data(8, None), [labelled("only", [True, False] * 4)])
    assert (only.baseline, only.comparisons, only.minimum_detectable) == (None, (), None)
    assert {sample.change for sample in only.samples} == {"shown"}
    assert any("8 test rows" in note for note in only.notes)
    assert any("Nothing records" in note for note in only.notes)


def test_texts_without_a_row_metric() -> None:
    texts = [("добрый день " * 20, "добрый день " * (10 + n)) for n in range(12)]
    result = assess("t", data(12), [written("a", texts), written("b", texts[::1])])
    assert [metric.name for metric in result.metrics] == ["bleu"]
    assert result.system("a").correct is None
    assert result.metrics[0].signature.startswith("nrefs:1|")


def test_repeated_looks_are_noted() -> None:
    result = assess("t", data(8, 3), [labelled("only", [True] * 8)])
    assert any("opened 3 times" in note for note in result.notes)


def test_unusable_requests_are_refused() -> None:
    one = labelled("one", [True] * 8)
    with pytest.raises(UsageError, match="nothing to assess"):
        assess("t", data(0), [])
    with pytest.raises(UsageError, match="same name"):
        assess("t", data(8), [one, one])
    with pytest.raises(UsageError, match="8 of 9 test rows have answers"):
        assess("t", data(9), [one])
    with pytest.raises(UsageError, match=r"Did you mean: one\?"):
        assess("t", data(8), [one], candidate="onee")
    with pytest.raises(UsageError, match="different rows"):
        assess("t", data(8), [one, replace(labelled("two", [True] * 8), examples=one.examples[::-1])])


def test_results_need_no_heavy_package() -> None:
    code = "import sys, outcrop.evaluation.results; print({'numpy', 'scipy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
