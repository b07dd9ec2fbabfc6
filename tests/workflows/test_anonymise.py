"""Files in, files out: all or nothing, with an account, a vault and the way back."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.mapping import Mapping
from outcrop.workflows.anonymise import anonymise, restore

ROWS = [
    {"prompt": "I'm Anna Kowalska, mail a.k@corp.example", "completion": "Dear Anna: a.k@corp.example", "id": "r1"},
    {"prompt": "What is two plus two?", "completion": "four", "id": "r2"},
    {"prompt": "Ring +44 20 7946 0958", "completion": "I will.", "id": "r3"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text("0123456789abcdef0123456789abcdef")
    return str(path)


def test_masked_rows_keep_their_other_columns(data: Path, tmp_path: Path) -> None:
    result = anonymise([str(data)], tmp_path / "out" / "masked.jsonl")
    assert rows_of(tmp_path / "out" / "masked.jsonl") == [
        {"prompt": "I'm <NAME_1>, mail <EMAIL_1>", "completion": "Dear <NAME_1>: <EMAIL_1>", "id": "r1"},
        ROWS[1],
        {"prompt": "Ring <PHONE_1>", "completion": "I will.", "id": "r3"},
    ]
    fields = result.as_dict()
    assert fields["found"] == {
        "email": {"prompts": 1, "answers": 1}, "name": {"prompts": 1, "answers": 1}, "phone": {"prompts": 1},
    }  # fmt: skip
    assert (fields["rows"], fields["rows_with_findings"], fields["rows_written"], fields["left"]) == (3, 2, 3, {})
    assert fields["changed_answers"] == 2
    assert f"{data}:3: prompt: characters 6 to 21" in fields["examples"]["phone"][0]
    assert "7946" not in json.dumps(fields)
    again = anonymise([str(tmp_path / "out" / "masked.jsonl")], spec=AnonymiseSpec(mode="report"))
    assert again.rows_with_findings == 0


def test_rows_are_dropped_and_counted(data: Path, tmp_path: Path) -> None:
    result = anonymise([str(data)], tmp_path / "kept.jsonl", spec=AnonymiseSpec(mode="drop", types=("phone",)))
    assert [row["id"] for row in rows_of(tmp_path / "kept.jsonl")] == ["r1", "r2"]
    assert (result.rows, result.rows_written, result.rows_dropped) == (3, 2, 1)


@pytest.mark.parametrize("mode", ["mask", "replace"])
def test_a_vault_leads_back(data: Path, tmp_path: Path, key: str, mode: str) -> None:
    out, vault = tmp_path / "out" / "rows.jsonl", tmp_path / "safe" / "vault.jsonl"
    anonymise([str(data)], out, spec=AnonymiseSpec.parse({"mode": mode, "key_file": key}), vault=vault)
    assert "Anna" not in out.read_text()
    assert stat.S_IMODE(vault.stat().st_mode) == 0o600
    assert restore(out, vault, tmp_path / "back.jsonl") == 3
    assert rows_of(tmp_path / "back.jsonl") == ROWS
    with pytest.raises(DataError, match="does not hold"):
        restore(data, vault, tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_broken_data_leaves_nothing_behind(tmp_path: Path, key: str) -> None:
    data = write(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "Ring +44 20 7946 0958", "completion": None}])
    vault = tmp_path / "safe" / "vault"
    with pytest.raises(DataError, match=r"rows.jsonl:4: completion: null"):
        anonymise([str(data)], tmp_path / "out.jsonl", spec=AnonymiseSpec(key_file=key), vault=vault)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"rows.jsonl", "key"}


def test_half_a_character_in_another_column_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "Grüße", "completion": "ok", "note": "\\ud800 a.k@corp.example"}\n')
    anonymise([str(data)], tmp_path / "out.jsonl")
    assert rows_of(tmp_path / "out.jsonl") == [{"prompt": "Grüße", "completion": "ok", "note": "\ud800 <EMAIL_1>"}]


def test_a_mapping_makes_the_records(tmp_path: Path) -> None:
    data = write(
        tmp_path / "rows.jsonl", [{"text": "Mail a.k@corp.example", "label": "contact", "by": "Anna Kowalska"}]
    )
    mapping = Mapping.from_text("prompt=text,completion=label", "Message: {prompt}")
    anonymise([str(data)], tmp_path / "out.jsonl", mapping)
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row == {"prompt": "Message: Mail <EMAIL_1>", "completion": "contact", "by": "<NAME_1>"}


def test_what_does_not_fit_together_is_refused(data: Path, tmp_path: Path, key: str) -> None:
    keyed = AnonymiseSpec(key_file=key)
    with pytest.raises(UsageError, match="--to is missing"):
        anonymise([str(data)])
    with pytest.raises(UsageError, match="read or written already"):
        anonymise([str(data)], data, overwrite=True)
    with pytest.raises(UsageError, match=r"ends in \.jsonl"):
        anonymise([str(data)], tmp_path / "out.csv")
    with pytest.raises(UsageError, match="belongs to masked or replaced data with a key"):
        anonymise([str(data)], tmp_path / "out.jsonl", vault=tmp_path / "safe" / "vault")
    with pytest.raises(UsageError, match="in the folder of the data"):
        anonymise([str(data)], tmp_path / "out.jsonl", spec=keyed, vault=tmp_path / "vault")
    write(tmp_path / "old.jsonl", ROWS[:1])
    with pytest.raises(UsageError, match="say --overwrite"):
        anonymise([str(data)], tmp_path / "old.jsonl")
    anonymise([str(data)], tmp_path / "old.jsonl", overwrite=True)
    assert len(rows_of(tmp_path / "old.jsonl")) == 3


def test_texts_with_other_columns_are_restored(tmp_path: Path, key: str) -> None:
    given = [{"id": number, "body": f"Mail anna{number}@corp.example"} for number in range(2)]
    out, vault = tmp_path / "out" / "rows.jsonl", tmp_path / "safe" / "vault.jsonl"
    spec = AnonymiseSpec.parse({"mode": "replace", "key_file": key})
    anonymise([str(write(tmp_path / "rows.jsonl", given))], out, Mapping.from_text("text=body"), spec=spec, vault=vault)
    assert restore(out, vault, tmp_path / "back.jsonl") == 2
    assert rows_of(tmp_path / "back.jsonl") == [{"id": row["id"], "input": row["body"]} for row in given]
