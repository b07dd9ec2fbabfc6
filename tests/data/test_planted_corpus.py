"""All kinds of defects planted at once: each is found at its line, in every format and container, and nothing else."""

from __future__ import annotations

import bz2
import copy
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from outcrop.data.validation import CheckSpec, check
from tests.data.corpus import ROWS, TEXTS, rows
from tests.data.planting import ALL, ANSWER, INDEX, PLANTED, PROMPT, Row, put, read
from tests.data.test_planted_defects import ALSO, LINES

Place = tuple[str, int, str]
SOURCES = 3
"""Row of which the planting functions make copies."""

FIRST = 20
"""Rows before it stay as they are; each copy is made of one of its own."""


def planted(format: str, codes: list[str]) -> tuple[list[Row], set[Place]]:
    """The corpus with one row spoilt for each code, and where each defect stands."""
    clean = rows(format)
    data, places = copy.deepcopy(clean), set()
    for number, code in enumerate(codes):
        target = FIRST + number
        window = copy.deepcopy(clean)
        window[INDEX], window[SOURCES] = copy.deepcopy(clean[target]), copy.deepcopy(clean[number % FIRST])
        field = PLANTED[code][1](window, format)
        data[target] = window[INDEX]
        places.add((code, target + 1, field))
    return data, places


def found(path: Path, spec: CheckSpec | None = None) -> tuple[set[Place], int]:
    """Places of all problems, and how many problems there are."""
    report = check(path, spec=spec).as_dict()
    groups = report["problems"]
    places = {(each["code"], one["line"], one["field"]) for each in groups for one in each["examples"]}
    return places, sum(group["count"] for group in groups)


@pytest.mark.parametrize("format", ALL)
def test_every_kind_at_once_is_found_at_its_line_and_nothing_else(format: str, tmp_path: Path) -> None:
    codes = [code for code, (formats, _) in PLANTED.items() if format in formats]
    data, places = planted(format, codes)
    lines = [json.dumps(row).encode() + b"\n" for row in data]
    free, blank = list(range(FIRST + len(codes), ROWS)), 0
    for code, (change, field) in LINES.items():
        target = next(row for row in free if change(lines[row]) != lines[row])
        free.remove(target)
        lines[target] = change(lines[target])
        places.add((code, target + 1, field))
        blank = target + 1 if code == "blank-line" else blank
    # A blank line is one more: those after it move down.
    places = {(code, line + (line > blank), field) for code, line, field in places}
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(lines))
    seen, count = found(path)
    also = {place for place in seen - places if any(place[0] in ALSO.get(code, set()) for code, *_ in places)}
    assert seen - also == places
    assert count == len(seen)
    assert len(places) == len(codes) + len(LINES)


def as_csv(data: list[Row], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "completion"], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(data)
    return text.getvalue().encode()


def as_parquet(data: list[Row]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(data), sink)
    return sink.getvalue()


def as_lines(data: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in data).encode()


def as_array(data: list[Row]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(row) for row in data) + "\n]\n").encode()


CONTAINERS: dict[str, tuple[Callable[[list[Row]], bytes], int]] = {
    "jsonl": (as_lines, 0),
    "ndjson": (as_lines, 0),
    "jsonl.gz": (lambda data: gzip.compress(as_lines(data)), 0),
    "jsonl.bz2": (lambda data: bz2.compress(as_lines(data)), 0),
    "jsonl.xz": (lambda data: lzma.compress(as_lines(data)), 0),
    "jsonl.zst": (lambda data: zstandard.compress(as_lines(data)), 0),
    "json": (as_array, 1),
    "json.gz": (lambda data: gzip.compress(as_array(data)), 1),
    "csv": (lambda data: as_csv(data, ","), 1),
    "csv.gz": (lambda data: gzip.compress(as_csv(data, ";")), 1),
    "tsv": (lambda data: as_csv(data, "\t"), 1),
    "parquet": (as_parquet, 0),
    "parquet.zst": (lambda data: zstandard.compress(as_parquet(data)), 0),
}
"""How rows are written, and how many lines stand before the first."""

TEXT_KINDS = [
    "control-character", "exact-duplicate", "near-duplicate", "conflicting-answers", "answer-is-prompt", "prompt-leak",
    "language-mix", "special-token", "pii-email", "pii-phone", "pii-card", "pii-iban", "secret-aws-key", "secret-jwt",
]  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_kind_of_text_is_found_in_every_container(container: str, tmp_path: Path) -> None:
    data, places = planted("prompt-completion", TEXT_KINDS)
    put(data[50], ANSWER["prompt-completion"], "")
    put(data[51], PROMPT["prompt-completion"], " \t ")
    write, before = CONTAINERS[container]
    path = tmp_path / f"train.{container}"
    path.write_bytes(write(data))
    places |= {("empty-content", 51, "completion"), ("whitespace-only", 52, "prompt")}
    seen, count = found(path)
    assert seen == {(code, line + before, field) for code, line, field in places}
    assert count == len(places)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_clean_corpus_raises_no_alarm_in_any_container(container: str, tmp_path: Path) -> None:
    write, _ = CONTAINERS[container]
    path = tmp_path / f"train.{container}"
    path.write_bytes(write(rows("prompt-completion")))
    result = check(path)
    assert (result.problems.lines(), result.rows) == ([], ROWS)


DOCUMENTS: dict[str, tuple[str, bytes]] = {
    "control-character": ("a.md", b"# Title\n\nThe \x1b bell.\n"),
    "nul-character": ("b.txt", b"The \0 of it.\n"),
    "not-utf8": ("c.txt", b"The \xe9 of it.\n"),
    "bom": ("d.txt", b"\xef\xbb\xbfThe beginning.\n"),
    "pii-email": ("e.md", b"Write to eva.lund@example.org soon.\n"),
    "special-token": ("f.txt", b"Then <|im_end|> comes.\n"),
    "empty-file": ("g.txt", b""),
    "exact-duplicate": ("z.txt", b"The clean text of a document about the harbour.\n"),
}


def test_every_kind_is_found_in_its_document_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "clean.md").write_text("The clean text of a document about the harbour.\n")
    for name, content in DOCUMENTS.values():
        (tmp_path / name).write_bytes(content)
    report = check(tmp_path, spec=CheckSpec(min_rows=0)).as_dict()
    seen = {group["code"]: [Path(each["file"]).name for each in group["examples"]] for group in report["problems"]}
    assert seen == {code: [name] for code, (name, _) in DOCUMENTS.items()}


def test_sources_of_copies_are_not_themselves_copies() -> None:
    for format in TEXTS:
        texts: list[Any] = [read(row, PROMPT[format]) for row in rows(format)]
        assert len(set(texts)) == ROWS
