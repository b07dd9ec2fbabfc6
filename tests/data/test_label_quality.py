"""Doubtful labels: spellings, drift between files, conflicts, confident learning."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from outcrop.core.errors import DataError
from outcrop.data.label_quality import (
    Drift,
    Variant,
    confident_labels,
    drifts,
    find_doubtful_labels,
    noise,
    variants,
)
from outcrop.data.records import Origin, Pair, Record
from outcrop.workflows.check_data import check_data
from tests.data.corpus import prompts, write_jsonl

WORDS = {
    "card": "card plastic chip swipe contactless visa atm",
    "transfer": "transfer wire iban beneficiary payee send abroad",
    "refund": "refund return merchant cancel dispute purchase money",
}


def labelled(rows: int, wrong: int, seed: int = 0) -> tuple[list[Record], set[int]]:
    """Rows whose words tell their label, `wrong` of them with another label; and the lines of those."""
    chance = random.Random(seed)
    found: list[Record] = []
    for line in range(1, rows + 1):
        label = chance.choice(list(WORDS))
        text = " ".join(chance.choices(WORDS[label].split(), k=6) + [f"case {line}"])
        found.append(Pair(text, label, Origin("rows.jsonl", line)))
    lines = set(chance.sample(range(1, rows + 1), wrong))
    for line in lines:
        record = found[line - 1]
        assert isinstance(record, Pair)
        other = chance.choice([label for label in WORDS if label != record.completion])
        found[line - 1] = Pair(record.prompt, other, record.origin)
    return found, lines


def test_spellings_of_one_label_are_named_with_the_usual_one() -> None:
    counts = {"card_lost": 40, "Card lost": 3, "card-lost": 40, "cards lost": 9, "fee": 10, "fee.": 2}
    usual = "card-lost"
    assert variants(counts) == [Variant("Card lost", usual), Variant("card_lost", usual), Variant("fee.", "fee")]


@pytest.mark.parametrize(("most", "few"), [("card", "card "), (" card", "card")])
def test_labels_with_white_space_around_them_in_few_rows_are_named(most: str, few: str, tmp_path: Path) -> None:
    rows = [{"prompt": text, "completion": ("fee", most)[row % 2]} for row, text in enumerate(prompts())]
    rows[5]["completion"] = few
    problems = check_data(write_jsonl(tmp_path / "rows.jsonl", rows)).problems
    assert [(each.code, each.origin.line) for each in problems.examples()] == [("label-variant", 6)]


def test_labels_that_a_file_lacks_or_holds_alone_are_drift() -> None:
    even = {"card": 50, "fee": 50}
    assert drifts({"a": even, "b": even}) == []
    assert drifts({"a": even}) == []
    only_a = drifts({"a": {"card": 50, "fee": 50}, "b": {"card": 100}})
    assert only_a == [Drift("a", "fee", 50, 100, 0, 100), Drift("b", "fee", 0, 100, 50, 100)]
    shifted = drifts({"a": {"card": 90, "fee": 10}, "b": {"card": 40, "fee": 60}})
    assert [drift[:2] for drift in shifted] == [("a", "card"), ("a", "fee"), ("b", "card"), ("b", "fee")]
    assert drifts({"a": {"card": 99, "rare": 1}, "b": {"card": 100}}) == []


def test_confident_joint_by_hand() -> None:
    """Thresholds are the mean probability of a label among its rows: 0.75 and 0.6 here (Northcutt et al. 2021)."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
    given = np.array([0, 0, 0, 1, 1, 1])
    assert confident_labels(probabilities, given).tolist() == [0, 0, -1, 1, 1, 0]
    # The joint is [[2, 0], [1, 2]]: all of 3 rows right, and two thirds of 3.
    assert noise(confident_labels(probabilities, given), given) == pytest.approx(1 / 6)


def test_planted_wrong_labels_are_found_and_right_ones_left() -> None:
    records, wrong = labelled(600, 30)
    found = find_doubtful_labels(records)
    lines = {doubt.line for doubt in found.doubts}
    assert len(lines & wrong) >= 28
    assert len(lines - wrong) <= 6
    assert found.noise == pytest.approx(0.05, abs=0.03)
    assert found == find_doubtful_labels(records)
    assert list(found.doubts) == sorted(found.doubts, key=lambda doubt: doubt.margin)
    assert find_doubtful_labels(labelled(600, 0)[0]).doubts == ()


def test_copies_of_a_wrong_row_do_not_vouch_for_it() -> None:
    records, _ = labelled(300, 0)
    origins = [Origin("rows.jsonl", line) for line in range(900, 904)]
    records += [Pair("visa chip card swipe atm plastic now", "refund", origin) for origin in origins]
    lines = {doubt.line for doubt in find_doubtful_labels(records).doubts}
    assert lines == {900, 901, 902, 903}


def test_answers_that_are_no_labels_cannot_be_doubted() -> None:
    with pytest.raises(DataError, match="the answers are not labels"):
        find_doubtful_labels([Pair(text, f"answer {text}") for text in prompts()])
    with pytest.raises(DataError, match="a model needs 50"):
        find_doubtful_labels(labelled(40, 0)[0])


def test_check_names_every_finding_by_line(tmp_path: Path) -> None:
    records, wrong = labelled(200, 4)
    rows = [{"prompt": each.prompt, "completion": each.completion} for each in records if isinstance(each, Pair)]
    rows[9]["completion"] = rows[9]["completion"].upper()
    rows[20] = {"prompt": rows[19]["prompt"] + " !", "completion": "fee"}
    for number in (30, 31, 32, 33, 34, 35, 36, 37, 38):
        rows[number]["completion"] = "fee"
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    result = check_data(path, doubtful_labels=True)
    places = {problem.code: problem.origin.line for problem in result.problems.examples()}
    assert places["label-variant"] == 10
    assert places["near-conflict"] == 21
    assert places["label-doubt"] in wrong | set(range(31, 40)) | {10, 21}
    assert result.as_dict()["doubtful_labels"]["labels"] == 5
