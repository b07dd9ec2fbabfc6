"""The way back: every value at its place, or a clear refusal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from outcrop.core.errors import DataError
from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.anonymise.vault import restored, write_entries
from outcrop.data.records import Record, Text
from tests.data.anonymise.test_anonymiser import PAIR, TALK

RECORDS: list[Record] = [PAIR, Text("nothing"), TALK, Text("Ask eva@corp.example.")]


@pytest.fixture(params=["mask", "replace"])
def anonymised(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Record], Path]:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef")
    anonymiser = Anonymiser(AnonymiseSpec(mode=request.param, key_file=str(key)))
    lines = io.StringIO()
    made = []
    for row, record in enumerate(RECORDS, start=1):
        done = anonymiser(record)
        made.append(done.record)
        write_entries(lines, row, done.replacements)
    vault = tmp_path / "vault"
    vault.write_text(lines.getvalue())
    return made, vault


def test_restored_records_are_the_given_ones(anonymised: tuple[list[Record], Path]) -> None:
    made, vault = anonymised
    assert made != RECORDS
    assert list(restored(made, vault)) == RECORDS


def test_other_data_is_refused(anonymised: tuple[list[Record], Path]) -> None:
    made, vault = anonymised
    with pytest.raises(DataError, match="does not hold"):
        list(restored(made[1:], vault))
    with pytest.raises(DataError, match="speaks of row"):
        list(restored(made[:3], vault))
    vault.write_text("{}\n")
    with pytest.raises(DataError, match=r"vault:1: Not an entry of a vault"):
        list(restored(made, vault))
