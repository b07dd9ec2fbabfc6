"""Training against production: no difference where there is none, planted differences found and half mended."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from outcrop.core.errors import DataError
from outcrop.core.statistics import permutation_test, two_sample_bootstrap
from outcrop.data.distributions import aspects, divergence, one_hot, separability
from outcrop.data.records import Origin, Pair, Record, Text, answer_text, prompt_text
from outcrop.data.representative import CompareSpec, Representativeness, compare

TOPICS = {
    "card": "card plastic chip swipe contactless visa atm pin limit broken",
    "transfer": "transfer wire iban beneficiary payee send abroad sepa fee pending",
    "loan": "mortgage loan interest collateral instalment borrow repay property lender notary",
}
SPEC = CompareSpec(resamples=100)


def rows(file: str, mix: dict[str, int], seed: int) -> list[Record]:
    """Rows of random words of each topic, with the topic as label."""
    chance = random.Random(f"{file} {seed}")
    topics = [topic for topic, count in mix.items() for _ in range(count)]
    texts = [" ".join(["how", "do", "i", *chance.choices(TOPICS[topic].split(), k=6)]) for topic in topics]
    return [Pair(text, topics[row], Origin(file, row + 1)) for row, text in enumerate(texts)]


@pytest.fixture(scope="module")
def shifted() -> Representativeness:
    training = rows("train", {"card": 400, "transfer": 100}, 0)
    return compare(training, rows("live", {"card": 100, "transfer": 100, "loan": 50}, 0), SPEC)


def test_samples_of_one_population_do_not_differ() -> None:
    mix = {"card": 150, "transfer": 150}
    found = compare(rows("train", mix, 1), rows("live", mix, 2), SPEC)
    assert found.separability.low <= 0.5
    assert all(each.p > 0.01 for each in found.differences)
    assert found.far.low <= 0.05
    assert found.conclusions[0].startswith("No classifier of ours")
    assert len(found.conclusions) == 1


def test_a_kind_that_training_lacks_is_found_with_its_rows(shifted: Representativeness) -> None:
    assert 0.2 <= shifted.far.value <= 0.33
    assert shifted.far.low > 0.05
    kind = shifted.missing[0]
    assert kind.rows > 30
    assert set(kind.words) <= set(TOPICS["loan"].split())
    assert all((row.file, row.line > 200) == ("live", True) for row in kind.examples)
    assert any("far from every training row" in sentence for sentence in shifted.conclusions)


def test_differences_are_measured_and_weights_lessen_them(shifted: Representativeness) -> None:
    found = {each.aspect: each for each in shifted.differences}
    assert list(found) == ["labels", "length", "words", "language"]
    assert found["labels"].p < 0.02
    assert found["labels"].by_chance < found["labels"].divergence.low
    assert found["labels"].reweighted < found["labels"].divergence.value
    assert shifted.separability.low > 0.6
    weights = np.array(shifted.weights.weights)
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert weights[400:].mean() > 2 * weights[:400].mean()
    assert shifted.weights.effective_rows == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-3)
    assert weights.max() / weights.min() <= 100.1


def test_the_sampling_proposal_gives_the_mix_of_production(shifted: Representativeness) -> None:
    kept = {each.label: each.keep * each.training for each in shifted.sampling if each.training}
    assert kept["card"] == pytest.approx(kept["transfer"])
    assert {each.label: each.production for each in shifted.sampling}["loan"] == 0.2
    assert any(sentence == "Labels that production has and training lacks: loan." for sentence in shifted.conclusions)


def test_samples_without_a_label_in_common_are_compared() -> None:
    mix = {"card": 40, "transfer": 40}
    live: list[Record] = [
        Pair(prompt_text(each), f"new {answer_text(each)}", each.origin) for each in rows("live", mix, 2)
    ]
    found = compare(rows("train", mix, 1), live, SPEC)
    assert {each.label: each.keep for each in found.sampling} == dict.fromkeys(
        ("card", "transfer", "new card", "new transfer"), 0.0
    )
    assert "Labels that production has and training lacks: new card, new transfer." in found.conclusions


def test_production_needs_no_answers_but_rows() -> None:
    training = rows("train", {"card": 40, "transfer": 40}, 0)
    live: list[Record] = [Text(record.prompt, record.origin) for record in training if isinstance(record, Pair)]
    found = compare(training, live, SPEC)
    assert [each.aspect for each in found.differences] == ["length", "words", "language"]
    assert found.sampling == ()
    with pytest.raises(DataError, match="29 production rows tell no distribution"):
        compare(training, live[:29], SPEC)


def test_the_account_is_a_function_of_the_seed_and_survives_json(shifted: Representativeness) -> None:
    training = rows("train", {"card": 400, "transfer": 100}, 0)
    again = compare(training, rows("live", {"card": 100, "transfer": 100, "loan": 50}, 0), SPEC)
    assert again == shifted == Representativeness.from_dict(shifted.as_dict())
    few = compare(training, training[:200], CompareSpec(sample=100, resamples=100))
    assert few.compared == (100, 100)
    assert (few.training_rows, few.production_rows) == (500, 200)


def test_divergence_by_hand() -> None:
    assert divergence(np.array([3.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1)
    assert divergence(np.array([3.0, 3.0]), np.array([5.0, 5.0])) == pytest.approx(0)
    # ½ · KL((½, ½) ‖ (¾, ¼)) + ½ · log₂(4/3)
    assert divergence(np.array([1.0, 1.0]), np.array([4.0, 0.0])) == pytest.approx(0.311278, abs=1e-6)


def test_separability_is_the_area_under_the_roc_curve() -> None:
    random = np.random.default_rng(0)
    scores, side = random.integers(20, size=400), random.integers(2, size=400)
    scores[side == 1] += 4
    first, second = (np.bincount(scores[side == value], minlength=24).astype(float) for value in (0, 1))
    assert separability(first, second) == pytest.approx(roc_auc_score(side, scores))


def test_interval_covers_and_chance_is_rare_under_no_difference() -> None:
    """Half of the mass apart: the true divergence is 0.311; without a difference p is uniform."""
    covered, surprising = 0, 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        first, second = one_hot(random.integers(2, size=200), 2), one_hot(np.zeros(200, dtype=np.int64), 2)
        found = two_sample_bootstrap(first, second, divergence, seed=seed, resamples=200)
        covered += found.low <= 0.311278 <= found.high
        other = one_hot(random.integers(2, size=200), 2)
        surprising += permutation_test(first, other, divergence, seed=seed, permutations=100).p < 0.05
    assert covered >= 34
    assert surprising <= 6


def test_aspects_count_every_row_once() -> None:
    found = aspects(rows("a", {"card": 30, "loan": 30}, 0), rows("b", {"card": 20, "loan": 20}, 0))
    for name in ("labels", "length", "language"):
        first, second = found[name]
        assert (first.sum(), second.sum()) == (60, 40)
        assert first.shape[1] == second.shape[1]
