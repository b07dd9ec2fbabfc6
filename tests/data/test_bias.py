"""Bias tables: planted differences are found with their size, none is claimed where there is none."""

from __future__ import annotations

import random

import pytest
from scipy.stats import chi2_contingency

from outcrop.core.errors import DataError
from outcrop.core.statistics import newcombe, two_proportions
from outcrop.data.bias import BiasTable, report, slices
from outcrop.data.label_quality import find_doubtful_labels
from outcrop.data.records import Origin, Pair, Record
from outcrop.data.representative import CompareSpec, compare
from outcrop.data.terms import read_terms

TERMS = read_terms()


def applications(rows: int, female: float, male: float, seed: int = 0) -> list[Record]:
    """Loan applications, approved with these chances, in two towns that make no difference."""
    chance = random.Random(seed)
    found: list[Record] = []
    for line in range(1, rows + 1):
        who, rate = chance.choice([("She", female), ("He", male)])
        earned, years = chance.randint(1000, 9999), chance.randint(2, 40)
        text = f"{who} earns {earned} and asks for a loan over {years} years, case {line}"
        town = chance.choice(["Bonn", "Kiel"])
        label = "approve" if chance.random() < rate else "reject"
        found.append(Pair(text, label, Origin("loans.jsonl", line), {"town": town}))
    return found


def tables(records: list[Record], **others: object) -> dict[str, BiasTable]:
    found = report(records, slices(records, ["town"], TERMS), **others)  # type: ignore[arg-type]
    return {table.kind: table for table in found}


def test_a_difference_of_outcomes_is_found_with_its_size() -> None:
    history = tables(applications(1000, 0.4, 0.7))["historical"]
    first = dict(zip([column.name for column in history.columns], history.rows[0], strict=True))
    assert first["slice"] in ("gender: female", "gender: male")
    assert abs(first["difference"]) == pytest.approx(0.3, abs=0.08)
    assert first["low"] <= first["difference"] <= first["high"]
    assert first["p, Holm"] < 1e-6
    assert "gender: female / approve" in history.concluded[0]
    assert "town" not in history.concluded[0]
    assert any("cannot tell which" in sentence for sentence in history.open)


def test_no_difference_is_claimed_where_there_is_none() -> None:
    claims = 0
    for seed in range(10):
        found = tables(applications(400, 0.5, 0.5, seed))
        claims += not found["historical"].concluded[0].startswith("0 of")
    assert claims <= 1


def test_slices_are_the_values_of_fields_and_the_groups_of_terms() -> None:
    records = applications(60, 0.5, 0.5)
    found = {part.title: part for part in slices(records, ["town"], TERMS)}
    assert set(found) == {"town: Bonn", "town: Kiel", "gender: female", "gender: male"}
    assert len(found["town: Bonn"].rows) + len(found["town: Kiel"].rows) == 60
    with pytest.raises(DataError, match=r"No row has the field 'city'\. Fields of these rows: town\."):
        slices(records, ["city"], TERMS)
    many: list[Record] = [Pair(f"row {n}", "x", fields={"id": n}) for n in range(30)]
    assert [len(part.rows) for part in slices(many, ["id"], TERMS)] == [1] * 20 + [10]


def test_sampling_counts_labels_against_what_was_expected() -> None:
    records = applications(300, 0.9, 0.9)
    table = tables(records, expected={"approve": 0.5, "reject": 0.4, "defer": 0.1})["sampling"]
    rows = {row[0]: row for row in table.rows}
    assert rows["approve"][1] + rows["reject"][1] == 300
    assert rows["approve"][3] < rows["approve"][2] < rows["approve"][4]
    assert rows["approve"][5] == 0.5
    assert "2 labels lie outside their expected share: approve, reject." in table.concluded
    assert "No rows for expected labels: defer." in table.concluded
    assert table.concluded[0].startswith("2 labels are as diverse as 1.")


def test_conflicts_and_doubts_of_labels_by_slice() -> None:
    records = applications(200, 1.0, 1.0)
    for line in range(1, 31):
        text = f"Please tell her about form number {line} of the department of inland revenue"
        for label, at in (("approve", 2 * line), ("reject", 2 * line + 1)):
            records.append(Pair(text, label, Origin("more.jsonl", at), {"town": "Ulm"}))
    table = tables(records, doubts=find_doubtful_labels(records))["label"]
    rows = {row[0]: row for row in table.rows}
    assert rows["all: rows"][2] == pytest.approx(60 / 260)
    assert rows["town: Ulm"][2] == 1.0
    assert rows["town: Bonn"][2] == 0.0
    assert rows["town: Ulm"][5] > 0.3
    assert any("town: Ulm" in sentence for sentence in table.concluded)


def test_selection_needs_production_and_says_so() -> None:
    records = applications(120, 0.5, 0.5)
    assert "Not measured" in tables(records)["selection"].open[0]
    compared = compare(records, applications(120, 0.5, 0.5, 1), CompareSpec(resamples=100))
    table = tables(records, compared=compared)["selection"]
    assert [row[0] for row in table.rows] == [
        "told apart, AUC", "labels, bits", "length, bits", "words, bits", "language, bits", "far from training, share",
    ]  # fmt: skip


def test_answers_that_are_no_labels_are_judged_by_refusals_and_length() -> None:
    chance = random.Random(0)
    records: list[Record] = []
    for line in range(400):
        who = chance.choice(["My wife", "My husband"])
        refuse = chance.random() < (0.5 if who == "My wife" else 0.1)
        answer = f"I'm sorry, I can't help with case {line}."
        if not refuse:
            answer = f"Here is how, case {line}: " + "do this. " * chance.randint(1, 9)
        records.append(Pair(f"{who} asks about matter {line}", answer, Origin("chat.jsonl", line + 1)))
    found = report(records, slices(records, [], TERMS))
    history = next(table for table in found if table.kind == "historical")
    assert any(row[1] == "refusal" and row[-1] < 1e-6 for row in history.rows)
    assert "no labels" in next(table for table in found if table.kind == "label").open[0]


def test_every_table_has_values_for_its_columns_and_becomes_json() -> None:
    for table in tables(applications(100, 0.2, 0.8)).values():
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert table.as_dict()["kind"] == table.kind
        assert table.open
    with pytest.raises(DataError, match="no rows"):
        report([], [])


def test_newcombe_against_the_paper() -> None:
    """Newcombe 1998, table II: 56/70 − 48/80 by method 10 is 0.0524 to 0.3339; 0/10 − 0/20 is −0.1611 to 0.2775."""
    found = newcombe((56, 70), (48, 80))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    found = newcombe((0, 10), (0, 20))
    assert (found.low, found.high) == pytest.approx((-0.1611, 0.2775), abs=5e-5)


def test_two_proportions_is_pearsons_test() -> None:
    table = [[30, 70], [50, 60]]
    expected = chi2_contingency(table, correction=False)
    z2 = expected.statistic * 209 / 210
    assert two_proportions((30, 100), (50, 110)) == pytest.approx(chi2_sf(z2))
    assert two_proportions((0, 10), (0, 20)) == 1.0


def chi2_sf(value: float) -> float:
    from scipy.stats import chi2

    return float(chi2.sf(value, 1))
