"""One conformance test over each catalog: every record format and every container."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from outcrop.core.errors import DataError, UsageError
from outcrop.data.certificate import FORMAT_OF
from outcrop.data.formats import delimited, json_array
from outcrop.data.formats.catalog import CONTAINERS, DOCUMENTS, SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.formats.json_text import parse_object
from outcrop.data.problems import Problems, Site
from outcrop.data.reading import load, read, sniff
from outcrop.data.records import NOWHERE, Conversation, Message, Pair, Record, Text
from tests.data.corpus import records, rows

ODD = "odd: “quotes”, comma, tab\t, 日本語, 🙂, U+2028\u2028 and\r\nlines\nin it"
CONVERSATION = Conversation(
    (Message("user", ODD), Message("assistant", "yes"), Message("user", "and?"), Message("assistant", ODD))
)
EVERY_RECORD: list[Record] = [
    Pair(ODD, "yes"), Text(ODD), CONVERSATION,
    Conversation((Message("system", ODD), *CONVERSATION.messages)),
    Conversation((Message("user", "a"), Message("assistant", "b", 0.0), *CONVERSATION.messages)),
]  # fmt: skip
WRONG: list[Any] = [None, 0, 1.5, True, "", "x", [], [[]], [{}], [None], {}, {"a": 1}, [{"role": [], "content": {}}]]


@pytest.mark.parametrize("name", list(SHAPES))
def test_shape_reads_what_it_writes(name: str) -> None:
    shape = SHAPES.load(name)
    held = 0
    for record in EVERY_RECORD:
        try:
            row = shape.write(record)
        except UsageError:
            continue
        held += 1
        problems = Problems()
        assert shape.accepts(row)
        assert shape.parse(json.loads(json.dumps(row)), Site(problems, NOWHERE)) == record
        assert not problems
    assert held


def test_split_files_hold_every_record_without_loss() -> None:
    for record in EVERY_RECORD:
        row = SHAPES.load(FORMAT_OF[type(record)]).write(record)
        shape = sniff([Row(row, NOWHERE)])
        assert shape is not None
        assert shape.parse(row, Site(Problems(), NOWHERE)) == record


@pytest.mark.parametrize("name", ["claude", "bedrock-conversation-2024", "sharegpt"])
def test_formats_without_weights_refuse_to_lose_them(name: str) -> None:
    with pytest.raises(UsageError, match="cannot hold this conversation: it has turns with weight 0"):
        SHAPES.load(name).write(EVERY_RECORD[-1])


@pytest.mark.parametrize("name", list(SHAPES))
def test_example_of_a_shape_is_recognised_and_read(name: str) -> None:
    shape = SHAPES.load(name)
    assert shape.name == name
    assert sniff([Row(dict(shape.example), NOWHERE)]) is shape
    problems = Problems()
    assert shape.parse(shape.example, Site(problems, NOWHERE)) is not None
    assert not problems
    assert set(shape.example) <= set(shape.keys)


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("input", "text")])
def test_other_columns_are_kept_as_fields(name: str) -> None:
    shape = SHAPES.load(name)
    record = shape.parse({**shape.example, "topic": "geology"}, Site(Problems(), NOWHERE))
    assert record is not None
    assert record.fields == {"topic": "geology"}


@pytest.mark.parametrize("name", list(SHAPES))
def test_values_of_any_type_are_reported_and_never_raise(name: str) -> None:
    shape = SHAPES.load(name)
    for key in shape.keys:
        for value in WRONG:
            problems = Problems()
            row = {**shape.example, key: value}
            record = shape.parse(row, Site(problems, NOWHERE))
            assert (record is None) == bool(problems.errors), row


def compressed(name: str, content: bytes) -> bytes:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    return packers[name](content) if name else content


def encode(container: str, values: list[dict[str, Any]]) -> bytes:
    """Rows as a file of a container; documents hold the first row's text."""
    if container in DOCUMENTS:
        return str(values[0]["text"]).encode()
    if container in ("jsonl", "ndjson"):
        return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()
    if container == "json":
        return json.dumps(values, ensure_ascii=False, indent=1).encode()
    if container == "parquet":
        file = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(values), file)
        return file.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(values[0]), delimiter="\t" if container == "tsv" else ",")
    writer.writeheader()
    writer.writerows(values)
    return text.getvalue().encode()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("container", list(CONTAINERS))
def test_container_gives_back_the_rows(container: str, compression: str, tmp_path: Path) -> None:
    values = [{"text": ODD}] if container in DOCUMENTS else [
        {"prompt": ODD, "completion": "yes"}, {"prompt": "two", "completion": ODD}
    ]  # fmt: skip
    path = tmp_path / f"rows.{container}{'.' + compression if compression else ''}"
    path.write_bytes(compressed(compression, encode(container, values)))
    loaded = load(path)
    shape = SHAPES.load("text" if container in DOCUMENTS else "prompt-completion")
    assert [shape.write(record) for record in loaded] == values
    assert {record.origin.file for record in loaded} == {str(path)}
    lines = [record.origin.line for record in loaded]
    # In JSON arrays and tables a row begins at its physical line; the odd text has two line breaks.
    expected = {"json": [2, 6], "csv": [2, 5], "tsv": [2, 5], "parquet": [1, 2]}
    assert lines == expected.get(container, list(range(1, len(values) + 1)))


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_cut_off_compression_is_an_error_and_never_less_data(compression: str, tmp_path: Path) -> None:
    values = rows("prompt-completion") * 20
    packed = compressed(compression, encode("jsonl", values))
    path = tmp_path / f"rows.jsonl.{compression}"
    for length in (len(packed) - 1, len(packed) // 2, 12):
        path.write_bytes(packed[:length])
        with pytest.raises(DataError, match="broken-compression"):
            load(path)
    path.write_bytes(packed + packed)
    assert len(load(path)) == 2 * len(values)


def test_damaged_parquet_is_reported(tmp_path: Path) -> None:
    content = bytearray(encode("parquet", rows("prompt-completion")))
    content[100:200] = b"x" * 100
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(DataError, match="broken-parquet"):
        load(tmp_path / "rows.parquet")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5)


@given(OBJECTS, st.sampled_from([None, 0, 2]), st.integers(1, 7))
def test_array_is_read_as_the_json_module_reads_it(values: list[Any], indent: int | None, chunk: int) -> None:
    content = json.dumps(values, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if b"\xed" in content or b"\x00" in content:  # half characters are not UTF-8
        return
    problems = Problems()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "CHUNK", chunk)
        elements = list(json_array.Elements(io.BytesIO(content), "a.json", problems))
    assert [json.loads(element.content) for element in elements] == values
    assert not problems
    if indent is not None:
        begins = [line for line, text in enumerate(content.split(b"\n"), 1) if text.startswith(b" " * indent + b"{")]
        assert [element.origin.line for element in elements] == begins[: len(values)] or indent == 0


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
CELLS = st.lists(st.tuples(CELL, CELL), max_size=6)


@settings(max_examples=50)
@given(CELLS, st.sampled_from(["\n", "\r\n"]))
def test_table_is_read_as_the_csv_module_reads_it(cells: list[tuple[str, str]], line_end: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    begins = []
    for row in [("a", "b"), *cells]:
        begins.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    problems = Problems()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(text.getvalue().encode())
        found = list(delimited.csv_rows(path, "table.csv", problems))
    assert [tuple(row.values.values()) for row in found] == cells
    assert [row.origin.line for row in found] == begins[1:]
    assert not problems


@given(st.text() | st.binary().map(lambda content: content.decode("latin-1")))
def test_any_line_is_read_or_reported(text: str) -> None:
    problems = Problems()
    row = parse_object(text.encode("utf-8", "surrogatepass"), NOWHERE, problems)
    assert (row is None) == bool(problems.errors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}', "must hold one array"), (b'[{"a": 1}', "does not end"), (b'[{"a": 1},,{"a": 2}]', "two commas"),
        (b'[{"a": 1}] x', "follows the end"), (b"[1]", "expected a JSON object, got a number"), (b"null", "one array"),
    ],
)  # fmt: skip
def test_broken_arrays_are_reported(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    problems = Problems()
    list(json_array.rows(tmp_path / "a.json", "a.json", problems))
    assert message in "\n".join(problems.lines())


def test_formats_of_a_file_are_told_by_most_of_its_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    values = [{"odd": 1}, *rows("claude")[:3], *({"messages": row["messages"]} for row in rows("claude")[3:40])]
    path.write_bytes(encode("jsonl", values))
    problems = Problems()
    records = list(read(path, problems=problems))
    assert len(records) == len(values) - 1
    assert [problem.code for problem in problems.examples()] == ["missing-field"]
    assert "There are: odd." in "".join(problem.message for problem in problems.examples())
    assert [record.messages[0].role for record in (records[0], records[-1])] == ["system", "user"]


@pytest.mark.parametrize("format", list(SHAPES))
def test_corpus_is_sniffed_as_its_format(format: str) -> None:
    assert len(records(format)) == len(rows(format))
    found = sniff([Row(row, NOWHERE) for row in rows(format)])
    assert found is not None
    assert found.name == format
