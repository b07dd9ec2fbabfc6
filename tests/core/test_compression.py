"""Reading .zst: several frames are one file, a file that was cut off is an error, memory is bounded."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from outcrop.core.files import open_binary

CONTENT = b"".join(b"line %d\n" % number for number in range(5000)) + os.urandom(50_000)


def packed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def read(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with open_binary(path) as file:
        return file.read()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl.zst"


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_all_frames_are_read(path: Path, frames: int) -> None:
    assert read(path, packed(CONTENT) * frames) == CONTENT * frames
    assert read(path, packed(CONTENT) + packed(b"") + packed(b"x")) == CONTENT + b"x"


@pytest.mark.parametrize("missing", [1, 4, 1000, 40_000])
def test_a_file_that_was_cut_off_is_an_error(path: Path, missing: int) -> None:
    with pytest.raises(EOFError, match="before the end-of-stream"):
        read(path, packed(b"x" * 100) + packed(CONTENT)[:-missing])


def test_other_bytes_are_an_error(path: Path) -> None:
    with pytest.raises(OSError, match="zstd"):
        read(path, b"not compressed at all")
    with pytest.raises(OSError, match="zstd"):
        read(path, packed(CONTENT) + b"rubbish after the end")


def test_lines_are_read_one_by_one(path: Path) -> None:
    path.write_bytes(packed(CONTENT))
    with open_binary(path) as file:
        assert [file.readline() for _ in range(3)] == [b"line 0\n", b"line 1\n", b"line 2\n"]


def test_a_small_file_that_unfolds_to_much_is_read_in_bounded_memory(path: Path) -> None:
    path.write_bytes(packed(bytes(200 << 20)))
    tracemalloc.start()
    with open_binary(path) as file:
        assert file.read(10) == bytes(10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20
