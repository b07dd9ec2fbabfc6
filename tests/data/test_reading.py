"""Files and folders to records: what is read, what is refused, and how that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import files, load, read
from outcrop.data.records import Pair, Text
from tests.data.corpus import ROWS, rows, write_jsonl


@pytest.fixture
def broken(tmp_path: Path) -> list[Path]:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(
            '{"prompt": "one", "completion": "1"}\n{"prompt": null, "completion": "2"}\n{"prompt": "three"}\n'
        )
    return [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]


def test_all_problems_of_all_files_are_raised_at_once(broken: list[Path]) -> None:
    with pytest.raises(DataError) as caught:
        load(broken)
    report = caught.value.report
    assert report is not None
    assert {group["code"]: list(group["lines"].values()) for group in report["problems"]} == {
        "missing-field": [[3], [3]], "null-content": [[2], [2]],
    }  # fmt: skip


def test_streaming_raises_at_the_end_or_reports(broken: list[Path]) -> None:
    stream = read(broken)
    assert [next(stream).origin.line for _ in range(2)] == [1, 1]
    with pytest.raises(DataError):
        next(stream)
    problems = Problems()
    assert len(list(read(broken, problems=problems))) == 2
    assert problems.errors == 4


def test_warnings_do_not_raise_and_can_be_had(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "one", "completion": "1"}\n\n')
    problems = Problems()
    assert [record.prompt for record in load(path, problems=problems) if isinstance(record, Pair)] == ["one"]
    assert (problems.count("bom"), problems.count("blank-line")) == (1, 1)


def test_a_folder_is_its_documents(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("# Two\n")
    (tmp_path / "one.txt").write_text("One")
    (tmp_path / ".hidden.txt").write_text("not this")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    found = load(tmp_path)
    assert [record.text for record in found if isinstance(record, Text)] == ["# Two\n", "One"]
    write_jsonl(tmp_path / "train.jsonl", rows("text"))
    with pytest.raises(UsageError, match="may mix training and test"):
        load(tmp_path)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no"):
        load(tmp_path)


def test_missing_files_are_named_all_at_once_with_a_suggestion(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", rows("text"))
    with pytest.raises(UsageError) as caught:
        files([tmp_path / "trian.jsonl", tmp_path / "other"])
    assert "trian.jsonl does not exist. Did you mean: train.jsonl?" in str(caught.value)
    assert "other does not exist" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.xlsx", "Unknown file type: xlsx"),
        ("rows", "does not say of what type"),
        ("rows.jsonk.gz", "Did you mean: json"),
    ],
)
def test_unknown_file_types_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=message):
        load(tmp_path / name)


def test_other_schemes_and_no_files_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read from s3:"):
        files("s3://bucket/rows.jsonl")
    with pytest.raises(UsageError, match="No file"):
        files([])


def test_a_named_format_is_not_second_guessed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows("openai-chat"))
    assert len(load(path, format="claude")) == ROWS
    with pytest.raises(DataError, match="no 'prompt'"):
        load(path, format="prompt-completion")
    with pytest.raises(UsageError, match=r"Unknown record format: openai. Did you mean: openai-chat\?"):
        load(path, format="openai")
    with pytest.raises(UsageError, match="both given"):
        load(path, Mapping(columns={"text": "text"}), format="text")


def test_a_mistyped_key_in_all_rows_is_recognised(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "complation": "b"}] * 3)
    with pytest.raises(DataError) as caught:
        load(path)
    assert "rows.jsonl:1" in str(caught.value)
    assert "needs 'completion'. Did you mean: complation?" in str(caught.value)
    assert "--map" in str(caught.value)


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"text": "a\u2028b\x85c"}\r\n{"text": "d"}'.encode())
    assert [(record.origin.line, record.text) for record in load(path) if isinstance(record, Text)] == [
        (1, "a\u2028b\x85c"), (2, "d"),
    ]  # fmt: skip
