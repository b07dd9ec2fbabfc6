"""Files appear whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from outcrop.core.errors import UsageError
from outcrop.core.files import staged_file


def test_a_staged_file_appears_whole_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "new" / "rows.jsonl"
    with staged_file(target, 0o600) as scratch:
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o600
        scratch.write_text("all")
        assert not target.exists()
    assert target.read_text() == "all"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_text("old")
    with pytest.raises(ValueError, match="half way"):
        _write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def _write_half(target: Path) -> None:
    with staged_file(target) as scratch:
        scratch.write_text("ne")
        raise ValueError("half way")


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"), staged_file(tmp_path / "file" / "rows.jsonl"):
        pass
