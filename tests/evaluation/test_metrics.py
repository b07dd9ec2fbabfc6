"""One conformance test for every metric of the catalog, and the metrics against their reference programs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sklearn.metrics import accuracy_score, f1_score

from outcrop.core.errors import DataError, UsageError
from outcrop.evaluation.metrics.catalog import METRICS, default_metrics
from outcrop.evaluation.metrics.labels import confusion, invalid_answers
from outcrop.evaluation.metrics.metric import Example, ExampleMetric, Metric

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.jsonl"


def example(fields: dict[str, Any]) -> Example:
    labels = tuple(fields["labels"]) if "labels" in fields else None
    return Example(**fields | {"references": tuple(fields["references"]), "labels": labels})


def golden(name: str) -> list[tuple[dict[str, Any], list[Example]]]:
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    return [(row, [example(fields) for fields in row["examples"]]) for row in rows if row["metric"] == name]


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS.load(request.param)


def test_metric_conforms(metric: Metric) -> None:
    cases = golden(metric.name)
    assert len(cases) >= 3, f"give {metric.name} at least three golden rows in {GOLDEN.name}"
    best = metric.high if metric.direction == "higher" else metric.low
    for row, examples in cases:
        value = metric.score_set(examples)
        assert value == pytest.approx(row["value"], abs=1e-9), row["origin"]
        assert metric.low <= value <= metric.high
        if row["best"]:
            assert value == pytest.approx(best)
    assert any(row["best"] for row, _ in cases), f"{metric.name} lacks a golden row with a perfect answer"


def test_metric_ignores_row_order_and_sums_over_parts(metric: Metric) -> None:
    for _, examples in golden(metric.name):
        shuffled = random.Random(3).sample(examples, len(examples))
        assert metric.score_set(shuffled) == pytest.approx(metric.score_set(examples))
        rows, value = metric.sums(examples)
        assert rows.shape[0] == len(examples)
        batch = value(np.stack([rows.sum(axis=0)] * 3))
        assert batch.shape == (3,)
        assert batch == pytest.approx(metric.score_set(examples))


def test_metric_says_what_it_is(metric: Metric) -> None:
    examples = golden(metric.name)[0][1]
    facts = metric.facts(examples)
    assert facts.name == metric.name in METRICS
    assert facts.title
    assert facts.source
    assert facts.kind == ("per_example" if isinstance(metric, ExampleMetric) else "set")
    json.dumps(facts.as_dict(), allow_nan=False)
    if metric.binary:
        assert isinstance(metric, ExampleMetric)
        assert all(set(metric.scores(rows).tolist()) <= {0.0, 1.0} for _, rows in golden(metric.name))


def test_metric_refuses_no_rows(metric: Metric) -> None:
    with pytest.raises(UsageError, match="no rows"):
        metric.score_set([])


def labelled(seed: int, labels: tuple[str, ...], rows: int) -> list[Example]:
    chance = random.Random(seed)
    answers = [*labels, "not a label", ""]
    return [Example("?", (chance.choice(labels[:-1]),), chance.choice(answers), labels) for _ in range(rows)]


@pytest.mark.parametrize("seed", range(5))
def test_classification_equals_scikit_learn(seed: int) -> None:
    labels = tuple(f"label {index}" for index in range(2 + 4 * seed))
    examples = labelled(seed, labels, 60)
    true, given = [e.references[0] for e in examples], [e.answer for e in examples]
    expected = f1_score(true, given, labels=list(labels), average="macro", zero_division=0)
    assert METRICS.load("macro_f1").score_set(examples) == pytest.approx(expected)
    assert METRICS.load("accuracy").score_set(examples) == pytest.approx(accuracy_score(true, given))


@pytest.mark.parametrize("seed", range(5))
def test_bleu_equals_sacrebleu(seed: int) -> None:
    chance = random.Random(seed)

    def text() -> str:
        return " ".join(chance.choice(["the", "cat", "sat", "on", "Mats,", "don't", "3.5"]) for _ in range(12))

    examples = [Example("?", (text(), text()), text()) for _ in range(20)]
    streams = [[e.references[place] for e in examples] for place in range(2)]
    expected = sacrebleu.corpus_bleu([e.answer for e in examples], streams)
    metric = METRICS.load("bleu")
    assert metric.score_set(examples) == pytest.approx(expected.score)
    bleu = sacrebleu.BLEU()
    bleu.corpus_score([e.answer for e in examples], streams)
    assert metric.facts(examples).signature == str(bleu.get_signature())


def test_bleu_signature_with_varying_references() -> None:
    examples = [Example("?", ("a",), "a"), Example("?", ("a", "b"), "a")]
    assert METRICS.load("bleu").facts(examples).signature.startswith("nrefs:var|")


@pytest.mark.parametrize("seed", range(5))
def test_slot_f1_equals_scikit_learn_on_pairs(seed: int) -> None:
    chance = random.Random(seed)
    pairs = [(slot, value) for slot in ("people", "time") for value in ("2", "at 8", "noon")]

    def drawn() -> list[tuple[str, str]]:
        return chance.sample(pairs, chance.randrange(4))

    def text(given: list[tuple[str, str]]) -> str:
        return json.dumps({slot: [value for name, value in given if name == slot] for slot, _ in given})

    rows = [(drawn(), drawn()) for _ in range(30)]
    examples = [Example("?", (text(true),), text(given)) for true, given in rows]
    true, given = ([[pair in row[place] for pair in pairs] for row in rows] for place in range(2))
    expected = f1_score(true, given, average="micro", zero_division=0)
    assert METRICS.load("slot_f1").score_set(examples) == pytest.approx(expected)


def test_macro_f1_of_a_resample_leaves_out_labels_it_did_not_draw() -> None:
    labels = ("a", "b", "never")
    examples = [Example("?", ("a",), "a", labels), Example("?", ("b",), "b", labels)]
    rows, value = METRICS.load("macro_f1").sums(examples)
    assert float(value(rows.sum(axis=0))) == pytest.approx(2 / 3)
    assert float(value(2 * rows[0])) == pytest.approx(1 / 2)


def test_invalid_answers_are_counted_and_have_their_own_column() -> None:
    labels = ("yes", "no")
    examples = [Example("?", ("yes",), a, labels) for a in ("yes", "no", "YES", "yes and no")]
    assert invalid_answers(examples) == 2
    assert confusion(examples).tolist() == [[1, 1, 2], [0, 0, 0]]


def test_reference_outside_the_labels_is_refused_with_a_suggestion() -> None:
    row = Example("?", ("refnd",), "refund", ("refund", "cancel"))
    with pytest.raises(DataError, match=r"'refnd' is not in the label set\. Did you mean: refund\?"):
        METRICS.load("accuracy").score_set([row])


def test_labels_given_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        METRICS.load("accuracy").score_set([Example("?", ("a",), "a", ("a", "a "))])


def test_metrics_name_what_they_need() -> None:
    row = Example("?", ("no number",), "5")
    with pytest.raises(UsageError, match="closed set of labels"):
        METRICS.load("macro_f1").score_set([row])
    with pytest.raises(UsageError, match="log-likelihood"):
        METRICS.load("bits_per_byte").score_set([row])
    with pytest.raises(DataError, match="'no number' is no JSON object"):
        METRICS.load("slot_f1").score_set([row])
    with pytest.raises(DataError, match="'no number' has no number"):
        METRICS.load("numeric_match").score_set([row])


@pytest.mark.parametrize(
    ("references", "labels", "expected"),
    [
        ([("refund",), ("cancel",)], ("refund", "cancel"), ("accuracy", "macro_f1")),
        ([("12",), ("$3,400.50",), ("-7",)], None, ("numeric_match",)),
        ([("So 3 + 4 = 7.\n#### 7",)] * 2, None, ("numeric_match", "numeric_match_strict")),
        ([('{"people": "2"}',), ("{}",)], None, ("slot_f1", "exact_match")),
        ([("Denver Broncos",), ("",), ("12",)], None, ("exact_match", "squad_f1")),
        ([("a long text of words " * 10,)], None, ("rouge_l", "bleu")),
        ([("очень длинный текст из слов " * 10,)], None, ("bleu",)),
    ],
)
def test_default_metrics(
    references: list[tuple[str, ...]], labels: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    assert default_metrics(references, labels) == expected


def test_default_metrics_of_no_rows() -> None:
    with pytest.raises(UsageError, match="no rows"):
        default_metrics([])


def test_unknown_metric_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"Did you mean: macro_f1\?"):
        METRICS.load("macrof1")
