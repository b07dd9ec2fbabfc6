"""Hostile input: a clear error with the line, in bounded memory, and the rows around it are kept."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from outcrop.core import files
from outcrop.core.errors import DataError
from outcrop.data.formats import container, json_text
from outcrop.data.problems import Problems
from outcrop.data.reading import read
from outcrop.workflows.prepare import prepare
from tests.data.corpus import rows

SCALE = 64
"""The limits of the tests are so many times smaller than those of users."""

GOOD = [json.dumps(row) for row in rows("prompt-completion")]
LINE = 17


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_BYTES", container.MAX_BYTES // SCALE)
    monkeypatch.setattr(container, "UNPACKED_BYTES", container.UNPACKED_BYTES // SCALE)


def among_good(line: bytes) -> bytes:
    """The line as the seventeenth of a good file."""
    before, after = ("\n".join(part).encode() for part in (GOOD[: LINE - 1], GOOD[LINE - 1 :]))
    return before + b"\n" + line + b"\n" + after + b"\n"


def found(path: Path) -> tuple[int, dict[str, list[int]], int]:
    """How many rows were read, the lines of the errors by code, the longest message."""
    problems = Problems()
    count = sum(1 for _ in read(path, problems=problems))
    report = problems.as_dict()["problems"]
    codes = {group["code"]: [line for lines in group["lines"].values() for line in lines] for group in report}
    return count, codes, max((len(line) for line in problems.lines()), default=0)


ONE = '{"prompt": %s, "completion": "x"}'
LINES: dict[str, tuple[Callable[[], bytes], str]] = {
    "one endless line": (lambda: b'{"prompt": "' + b"a" * (container.MAX_BYTES + 9) + b'"}', "line-too-long"),
    "invalid UTF-8": (lambda: b'{"prompt": "caf\xe9", "completion": "x"}', "not-utf8"),
    "overlong UTF-8": (lambda: b'{"prompt": "\xc0\xaf", "completion": "x"}', "not-utf8"),
    "deep lists": ((ONE % ("[" * 100_000 + "]" * 100_000)).encode, "too-deep"),
    "deep objects": ((ONE % ('{"a":' * 50_000 + "1" + "}" * 50_000)).encode, "too-deep"),
    "unclosed lists": (lambda: b"[" * 200_000, "too-deep"),
    "many keys": (lambda: json.dumps({f"k{n}": n for n in range(40_000)}).encode(), "too-many-keys"),
    "many equal keys": (lambda: b'{"prompt": "a", ' + b'"x": 1, ' * 100_000 + b'"completion": "b"}', "duplicate-key"),
    "a huge key": (lambda: json.dumps({"k" * 900_000: 1, "prompt": "a"}).encode(), "missing-field"),
    "NaN": ((ONE % "NaN").encode, "not-a-number"),
    "infinity": ((ONE % "-Infinity").encode, "not-a-number"),
    "a huge integer": ((ONE % ("9" * 500_000)).encode, "bad-json"),
    "a huge float": ((ONE % ("1" + "0" * 400 + "e9")).encode, "wrong-type"),
    "a huge exponent": ((ONE % "1e999999999").encode, "wrong-type"),
    "NUL": ((ONE % '"a\\u0000b"').encode, "nul-character"),
    "half a character": ((ONE % '"a\\ud83d b"').encode, "lone-surrogate"),
    "many quotes": (lambda: b'"' * 900_001, "bad-json"),
    "many backslashes": (lambda: b'{"prompt": "' + b"\\" * 900_001, "bad-json"),
}


@pytest.mark.parametrize("name", list(LINES))
def test_a_hostile_line_is_named_and_the_others_are_read(name: str, tmp_path: Path) -> None:
    make, code = LINES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(among_good(make()))
    count, codes, longest = found(path)
    assert codes == {code: [LINE] * len(codes.get(code, []))}
    assert codes
    assert count == len(GOOD)
    assert longest < 5000


@pytest.mark.parametrize("name", ["deep lists", "one endless line", "many keys", "a huge integer"])
def test_a_hostile_element_of_an_array_is_named_and_the_others_are_read(name: str, tmp_path: Path) -> None:
    make, code = LINES[name]
    path = tmp_path / "rows.json"
    path.write_bytes(b"[\n" + b",\n".join([*(each.encode() for each in GOOD), make()]) + b"\n]")
    count, codes, _ = found(path)
    assert (count, codes) == (len(GOOD), {code: [len(GOOD) + 2]})


def test_a_hostile_cell_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\na,b\n" + "c" * (container.MAX_BYTES + 9) + ",d\ne,f\n")
    assert found(path)[:2] == (2, {"line-too-long": [3]})
    path.write_text("prompt,completion\na,b\n" + '"' + "c\n" * 50_000)
    count, codes, _ = found(path)
    assert count == 1
    assert codes == {"bad-csv": [3]}


def test_a_preparation_loses_no_row_around_hostile_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [make() for make, _ in LINES.values()]
    path.write_bytes(among_good(b"\n".join(lines)))
    account = prepare(path, tmp_path / "out", steps=["clean"], workers=1).as_dict()
    assert account["counts"] == {"rows": len(GOOD)}
    assert account["steps"]["read"]["rows"] == len(GOOD) + len(LINES)
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text("utf-8").splitlines()]
    assert sorted(row["line"] for row in dropped) == list(range(LINE, LINE + len(LINES)))
    assert all(len(json.dumps(row)) < 5000 for row in dropped)


def packed(kind: str, content: bytes) -> bytes:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress,
    }  # fmt: skip
    return pack[kind](content)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_bomb_is_refused_and_data_that_packs_well_is_read(kind: str, tmp_path: Path) -> None:
    bomb = tmp_path / f"bomb.jsonl.{kind}"
    bomb.write_bytes(packed(kind, b"\0" * (container.UNPACKED_BYTES * 2)))
    problems = Problems()
    assert not list(read(bomb, problems=problems))
    assert problems.count("decompression-bomb") == 1
    good = tmp_path / f"good.jsonl.{kind}"
    good.write_bytes(packed(kind, "\n".join(GOOD * 3).encode()))
    assert found(good)[0] == 3 * len(GOOD)


def test_a_preparation_refuses_a_bomb_as_a_whole(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(b"\0" * (container.UNPACKED_BYTES * 2)))
    with pytest.raises(DataError, match="bytes unpack to more than"):
        prepare(bomb, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_xz_may_not_ask_for_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 16 << 20}]
    path.write_bytes(lzma.compress("\n".join(GOOD).encode(), filters=filters))
    assert found(path)[0] == len(GOOD)
    monkeypatch.setattr(files, "XZ_MEMORY", 8 << 20)
    assert found(path)[1] == {"broken-compression": [0]}


def test_xz_streams_follow_each_other_and_a_cut_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.xz"
    halves = ["\n".join(part).encode() + b"\n" for part in (GOOD[:20], GOOD[20:])]
    path.write_bytes(lzma.compress(halves[0]) + b"\0" * 8 + lzma.compress(halves[1]))
    assert found(path)[:2] == (len(GOOD), {})
    path.write_bytes(path.read_bytes()[:-30])
    assert "broken-compression" in found(path)[1]
    assert io.BufferedReader(files.XzFile(path)).read(9) == halves[0][:9]


LIMITED = """
import resource, sys
from outcrop.data.problems import Problems
from outcrop.data.reading import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
problems = Problems()
rows = sum(1 for _ in read(sys.argv[1], problems=problems))
print(rows, problems.count("line-too-long"), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
def test_an_endless_line_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.truncate(300 << 20)  # NUL that takes no room on the disk
        file.seek(0, io.SEEK_END)
        file.write(b"\n" + "\n".join(GOOD).encode())
    run = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    count, too_long, megabytes = map(int, run.stdout.split())
    assert (count, too_long) == (len(GOOD), 1)
    assert megabytes < 250


def test_the_limits_of_users_are_those_that_are_documented() -> None:
    assert json_text.MAX_DEPTH == 100
    assert json_text.MAX_KEYS == 10_000
    assert container.MAX_BYTES * SCALE == 64 << 20
