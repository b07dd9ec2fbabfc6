"""Comparing, looking for bias and describing as verbs: what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.card import Provenance
from outcrop.data.mapping import Mapping
from outcrop.data.records import Pair
from outcrop.workflows.check_data import split_data
from outcrop.workflows.describe_data import BiasSpec, Production, compare_data, describe_data, find_bias
from tests.data.corpus import rows, write_jsonl
from tests.data.test_bias import applications


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    made = [row for row in applications(200, 0.3, 0.8) if isinstance(row, Pair)]
    values = [{"text": row.prompt, "label": row.completion, **row.fields} for row in made]
    return write_jsonl(tmp_path / "loans.jsonl", values)


COLUMNS = Mapping.from_text("prompt=text,completion=label", "", "")


def test_a_comparison_writes_a_weight_for_every_row(loans: Path, tmp_path: Path) -> None:
    asked = [json.loads(line)["text"] for line in loans.read_text().splitlines()]
    live = write_jsonl(tmp_path / "live.jsonl", [{"q": text} for text in asked[:60]])
    production = Production(paths=(str(live),), columns="text=q")
    result = compare_data(str(loans), production, COLUMNS, to=str(tmp_path / "out"))
    weights = [json.loads(line) for line in (tmp_path / "out" / "weights.jsonl").read_text().splitlines()]
    assert [(each["file"], each["line"]) for each in weights] == [(str(loans), line) for line in range(1, 201)]
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written == {name: value for name, value in result.as_dict().items() if name != "folder"}
    with pytest.raises(UsageError, match="nothing to compare with"):
        compare_data(str(loans), Production(), COLUMNS)
    with pytest.raises(UsageError, match="not empty"):
        compare_data(str(loans), production, COLUMNS, to=tmp_path / "out")


def test_bias_writes_tables_and_counterfactual_rows(loans: Path, tmp_path: Path) -> None:
    result = find_bias(loans, COLUMNS, spec=BiasSpec(fields=("town",)), to=str(tmp_path / "out"))
    assert [table["kind"] for table in json.loads((tmp_path / "out" / "bias.json").read_text())] == [
        "selection", "sampling", "label", "historical",
    ]  # fmt: skip
    original, swapped = (
        (tmp_path / "out" / name).read_text().splitlines() for name in ("original.jsonl", "swapped.jsonl")
    )
    assert len(original) == len(swapped) == len(result.counterfactuals) == 200
    assert json.loads(swapped[0])["synthetic"] == "counterfactual gender"
    assert result.as_dict()["counterfactuals"] == 200


def test_expected_shares_are_read_or_refused(loans: Path, tmp_path: Path) -> None:
    path = tmp_path / "shares.json"
    path.write_text('{"approve": 0.5, "reject": 0.5}')
    assert find_bias(loans, COLUMNS, spec=BiasSpec(expected=str(path))).tables[1].rows[0][5] == 0.5
    for content, message in (('{"approve": 0.5}', "sum up to 0.5"), ("[1]", "cannot be read"), ("{", "cannot be read")):
        path.write_text(content)
        with pytest.raises(UsageError, match=message):
            find_bias(loans, COLUMNS, spec=BiasSpec(expected=str(path)))


def test_a_card_of_a_split_says_what_was_sealed(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "train.jsonl", rows("openai-chat"))
    split_data(data, str(tmp_path / "split"))
    result = describe_data(str(tmp_path / "split"), str(tmp_path / "card"))
    assert result.card.provenance.name == "split"
    assert sorted(path.name for path in (tmp_path / "card").iterdir()) == ["card.json", "card.md", "report.html"]
    assert result.card.subject.split is not None
    counts = result.card.subject.split["counts"]
    assert result.card.profile.rows == counts["train"] + counts["validation"]
    test_rows = (tmp_path / "split" / "test.jsonl").read_text().splitlines()
    page = (tmp_path / "card" / "report.html").read_text()
    for line in test_rows:
        assert json.loads(line)["messages"][-1]["content"] not in page
    with pytest.raises(UsageError, match="are records"):
        describe_data(tmp_path / "split", tmp_path / "other", Provenance("x"), COLUMNS)
    assert not (tmp_path / "other").exists()


def test_rows_with_errors_are_counted_and_nothing_is_half_written(tmp_path: Path) -> None:
    values = rows("prompt-completion")
    values[3]["completion"] = None
    path = write_jsonl(tmp_path / "rows.jsonl", values)
    result = describe_data(path, tmp_path / "card", Provenance("x"))
    assert (result.card.profile.rows, result.card.problems.rows_with_errors) == (63, 1)
    assert "1 further rows cannot be used" in (tmp_path / "card" / "report.html").read_text()
    with pytest.raises(DataError, match="no usable rows"):
        describe_data(write_jsonl(tmp_path / "bad.jsonl", [{"prompt": "a"}]), tmp_path / "none", Provenance("x"))
    assert not (tmp_path / "none").exists()
