"""Paired comparisons: signs, verdicts, flips, sentences, and refusal of unequal rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outcrop.core.errors import UsageError
from outcrop.core.statistics import holm, mcnemar, minimum_detectable_difference, wilson
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.comparison import Answered, compare, compare_all, estimate, headline
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example
from tests.evaluation.fakes import accuracies, data, labelled, written

ACCURACY = METRICS.load("accuracy")


def flips(rows: int, gained: int, lost: int) -> tuple[Answered, Answered]:
    """Two systems of which the second wins `gained` rows and loses `lost`; both are right elsewhere."""
    before = [row >= gained for row in range(rows)]
    after = [not gained <= row < gained + lost for row in range(rows)]
    return labelled("base", before), labelled("tuned", after)


def test_counts_of_a_comparison_by_hand() -> None:
    base, tuned = flips(200, 30, 10)
    found = compare(ACCURACY, base, tuned)
    assert (found.gained, found.lost) == (30, 10)
    assert found.scores == pytest.approx((170 / 200, 190 / 200))
    assert found.difference.value == pytest.approx(0.1)
    assert (found.p, found.test) == (mcnemar(10, 30), "McNemar exact")
    assert found.minimum_detectable == minimum_detectable_difference(0.2, 200)
    assert found.verdict == "better"
    assert found.sentence == (
        "tuned is better than base: accuracy 95.0 % against 85.0 %, +10.0 points (95 % interval "
        f"{100 * found.difference.low:+.1f} to {100 * found.difference.high:+.1f}, p = 0.002) on the same 200 rows."
    )


def test_turned_around_it_is_worse() -> None:
    base, tuned = flips(200, 30, 10)
    found = compare(ACCURACY, tuned, base)
    assert (found.verdict, found.gained, found.lost) == ("worse", 10, 30)
    assert found.sentence.startswith("base is worse than tuned: accuracy 85.0 % against 95.0 %, −10.0 points")


def test_no_difference_says_what_could_have_been_seen() -> None:
    found = compare(ACCURACY, *flips(200, 6, 4))
    assert found.verdict == "no difference shown"
    assert found.sentence.startswith("No difference shown between tuned and base: accuracy 98.0 % against 97.0 %")
    assert found.sentence.endswith("on the same 200 rows, which can show a true difference of 4.3 points or more.")


def test_equal_systems_differ_by_nothing_and_are_not_called_certain() -> None:
    found = compare(ACCURACY, *flips(100, 0, 0))
    assert (found.difference.value, found.p, found.verdict) == (0, 1, "no difference shown")
    assert found.minimum_detectable > 0.04


def test_lower_is_better_for_bits_per_byte() -> None:
    def scored(name: str, bits: float) -> Answered:
        rows = [Example("", (f"text {n}",), "", None, -bits - n / 100, 10, 10) for n in range(60)]
        return Answered(name, name, tuple(rows))

    metric = METRICS.load("bits_per_byte")
    found = compare(metric, scored("before", 14), scored("after", 10))
    assert found.difference.value < 0
    assert (found.verdict, found.gained, found.lost, found.test) == ("better", None, None, "paired bootstrap")
    assert found.minimum_detectable < -found.difference.value
    assert found.sentence.startswith("after is better than before: bits per byte 1.485 against 2.062, −0.577 (95 %")


def test_macro_f1_is_resampled_as_a_whole() -> None:
    right, better = accuracies(1, 300, 0.6, 0.9)
    found = compare(METRICS.load("macro_f1"), labelled("a", right), labelled("b", better))
    assert (found.test, found.gained, found.verdict) == ("paired bootstrap", None, "better")
    assert found.difference.low < found.difference.value < found.difference.high
    assert "Macro-F1" in found.sentence


def test_word_f1_counts_rows_that_moved() -> None:
    texts = [("red apple", "red"), ("blue", "blue"), ("old green tree", "old")] * 10
    better = [("red apple", "red apple"), ("blue", "sky"), ("old green tree", "old")] * 10
    found = compare(METRICS.load("squad_f1"), written("a", texts), written("b", better))
    assert (found.gained, found.lost) == (10, 10)


def test_several_comparisons_are_adjusted_together() -> None:
    base, weak = flips(200, 14, 4)
    _, strong = flips(200, 14, 0)
    systems = [replace(weak, name="weak"), replace(strong, name="strong")]
    alone = [compare(ACCURACY, base, system) for system in systems]
    together = compare_all(ACCURACY, base, systems)
    assert [c.p for c in together] == holm([c.p for c in alone])
    assert all(c.tests == 2 and "adjusted for 2 comparisons" in c.sentence for c in together)
    assert alone[0].verdict == "better"


def test_other_rows_are_refused() -> None:
    base, tuned = flips(20, 3, 1)
    with pytest.raises(UsageError, match="base and tuned answered 20 and 19 rows"):
        compare(ACCURACY, base, replace(tuned, examples=tuned.examples[:-1]))
    other = replace(tuned.examples[4], prompt="another")
    with pytest.raises(UsageError, match="row 5 is not the same"):
        compare(ACCURACY, base, replace(tuned, examples=(*tuned.examples[:4], other, *tuned.examples[5:])))


def test_estimates_choose_their_interval() -> None:
    base, _ = flips(200, 30, 10)
    assert estimate(ACCURACY, base.examples) == wilson(170, 200)
    assert estimate(METRICS.load("macro_f1"), base.examples, resamples=500).method == "bootstrap, 500 resamples"
    perfect = written("w", [("red apple", "red apple")] * 30)
    found = estimate(METRICS.load("squad_f1"), perfect.examples)
    assert (found.value, found.high, found.method) == (1, 1, "Wilson")
    assert found.low < 0.9


def test_headline_of_one_system_claims_nothing() -> None:
    base, _ = flips(200, 30, 10)
    text = headline(assess("t", data(200), [base]))
    assert text.startswith("base scores 85.0 % accuracy (95 % interval 79.4 to 89.3) on 200 rows; no other system")
