"""A remembered digest is that of the file as it is, whatever happened to it since."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from outcrop.core import settings
from outcrop.core.files import digest
from outcrop.store import digests
from outcrop.store.digests import FILE, LEAST_BYTES, MOST_FILES, remembered_digest


def later() -> float:
    """When all that happened in a test is long ago."""
    return time.time() + 60


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    seen: list[Path] = []

    def reading(path: Path) -> str:
        seen.append(path)
        return digest(path)

    monkeypatch.setattr(digests, "digest", reading)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A large file."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(LEAST_BYTES))
    return path


def test_a_file_is_read_once(file: Path, read: list[Path]) -> None:
    assert [remembered_digest(file, clock=later) for _ in range(3)] == [digest(file)] * 3
    assert read == [file]
    assert (settings.home() / FILE).stat().st_mode & 0o077 == 0


def rewritten(file: Path) -> None:
    """As many bytes, and the time of the last change set back."""
    before = file.stat()
    file.write_bytes(b"\1" + bytes(LEAST_BYTES - 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"\1" + bytes(LEAST_BYTES - 1))
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)


def mapped(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"\1")


@pytest.mark.parametrize("change", [rewritten, replaced, mapped])
def test_a_changed_file_is_read_again(file: Path, read: list[Path], change: Callable[[Path], None]) -> None:
    before = remembered_digest(file, clock=later)
    time.sleep(0.02)  # the clock of the file system ticks
    change(file)
    assert remembered_digest(file, clock=later) == digest(file) != before
    assert len(read) == 2


def test_a_file_that_was_just_written_is_not_trusted_to_stay(file: Path, read: list[Path]) -> None:
    assert [remembered_digest(file) for _ in range(2)] == [digest(file)] * 2
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(path: Path) -> str:
        found = digest(path)
        mapped(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(digests, "digest", reading)
        before = remembered_digest(file, clock=later)
    assert remembered_digest(file, clock=later) == digest(file) != before


def test_small_files_are_read(tmp_path: Path, read: list[Path]) -> None:
    small = tmp_path / "config.json"
    small.write_bytes(b"{}")
    assert remembered_digest(small, clock=later) == digest(small) == remembered_digest(small, clock=later)
    assert len(read) == 2
    assert not (settings.home() / FILE).exists()


def test_links_lead_to_their_file(file: Path, read: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    assert remembered_digest(tmp_path / "link", clock=later) == remembered_digest(file, clock=later)
    assert len(read) == 1


def test_where_nothing_can_be_remembered_files_are_read(file: Path, read: list[Path]) -> None:
    (settings.home() / FILE).parent.mkdir(parents=True, exist_ok=True)
    (settings.home() / FILE).write_text("no database at all" * 100)
    assert [remembered_digest(file, clock=later) for _ in range(2)] == [digest(file)] * 2
    assert len(read) == 2


def test_the_oldest_are_dropped(file: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert MOST_FILES > 1
    monkeypatch.setattr(digests, "MOST_FILES", 1)
    other = tmp_path / "other"
    other.write_bytes(bytes(LEAST_BYTES))
    for path in (file, other, other, file):
        remembered_digest(path, clock=later)
    assert read == [file, other, file]
