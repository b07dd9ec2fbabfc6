"""Every defect a validator must name, planted in every format it can occur in, is found with file, line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outcrop.data.defects import DEFECTS
from outcrop.data.validation import CheckSpec, check
from outcrop.workflows.check_data import check_data
from tests.data.corpus import PAIRS, ROWS, TEXTS, prompts, rows, write_jsonl
from tests.data.planting import (
    ALL,
    ANSWER,
    ANSWERED,
    INDEX,
    LINE,
    PLANTED,
    PROMPT,
    Row,
    put,
    read,
    record_field,
    typo,
)

ALSO = {
    # A row that is broken in one way may be broken in a second: these come with the planted one.
    "first-turn-assistant": {"roles-not-alternating"},
}  # fmt: skip
CASES = [(code, format) for code, (formats, _) in PLANTED.items() for format in formats]


def found(path: Path, **arguments: Any) -> dict[str, list[tuple[str, int, str]]]:
    """Places by code: file name, line, field."""
    report = check(path, **arguments).as_dict()
    return {
        group["code"]: [(Path(each["file"]).name, each["line"], each["field"]) for each in group["examples"]]
        for group in report["problems"]
    }


@pytest.mark.parametrize(("code", "format"), CASES)
def test_planted_defect_is_found_at_its_place(code: str, format: str, tmp_path: Path) -> None:
    data = rows(format)
    field = PLANTED[code][1](data, format)
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    places = found(path)
    assert places.get(code) == [("train.jsonl", LINE, field)], places
    assert set(places) - {code} <= ALSO.get(code, set()), places


@pytest.mark.parametrize("format", ALL)
def test_clean_corpus_raises_no_alarm(format: str, tmp_path: Path) -> None:
    result = check(write_jsonl(tmp_path / "clean.jsonl", rows(format)))
    assert result.problems.lines() == []
    assert (result.ok, result.rows) == (True, ROWS)


LINES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bad-json": (lambda line: line.rstrip(b"}\n") + b"\n", ""),
    "blank-line": (lambda line: b"  \r\n" + line, ""),
    "bom": (lambda line: b"\xef\xbb\xbf" + line, ""),
    "duplicate-key": (lambda line: b'{"extra": 1, "extra": 2, ' + line[1:], "extra"),
    "not-a-number": (lambda line: b'{"extra": NaN, ' + line[1:], ""),
    "too-deep": (lambda line: b'{"extra": ' + b"[" * 200 + b"]" * 200 + b", " + line[1:], ""),
    "not-utf8": (lambda line: line.replace(b"the", b"th\xe9", 1), ""),
    "nul-character": (lambda line: line.replace(b"the", b"t\0e", 1), ""),
}


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("code", LINES)
def test_defective_line_is_found_at_its_place(code: str, format: str, tmp_path: Path) -> None:
    change, field = LINES[code]
    lines = [json.dumps(row).encode() + b"\n" for row in rows(format)]
    lines[INDEX] = change(lines[INDEX])
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(lines))
    assert found(path) == {code: [("train.jsonl", LINE, field)]}


def test_long_line_is_found_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.data.formats.container.MAX_BYTES", 1000)
    data = rows("prompt-completion")
    data[INDEX]["prompt"] = "long " * 1000
    result = check(write_jsonl(tmp_path / "train.jsonl", data))
    assert [(problem.code, problem.origin.line) for problem in result.problems.examples()] == [("line-too-long", LINE)]
    assert result.rows == ROWS - 1


@pytest.mark.parametrize("format", ANSWERED)
def test_row_over_the_limit_says_what_would_be_cut(format: str, tmp_path: Path) -> None:
    data = rows(format)
    put(data[INDEX], ANSWER[format], "word " * 100)
    put(data[INDEX + 1], PROMPT[format], "word " * 100)
    path = write_jsonl(tmp_path / "train.jsonl", data)
    spec = CheckSpec(max_tokens=60)
    places = found(path, spec=spec, count_tokens=lambda text: len(text.split()))
    assert places["over-long"] == [("train.jsonl", LINE, record_field(format, answer=True))]
    assert places["completion-cut"] == [("train.jsonl", LINE + 1, record_field(format, answer=False))]
    assert found(path, spec=CheckSpec(max_chars=300)).keys() >= {"over-long", "completion-cut"}


@pytest.mark.parametrize("format", ANSWERED)
def test_defects_of_labels(format: str, tmp_path: Path) -> None:
    data = rows(format)
    for number, row in enumerate(data):
        put(row, ANSWER[format], ("refund", "delivery")[number % 2])
    put(data[INDEX], ANSWER[format], "delivary")
    path = write_jsonl(tmp_path / "train.jsonl", data)
    field = record_field(format, answer=True)
    assert found(path) == {"rare-label": [("train.jsonl", LINE, field)]}
    report = check(path, spec=CheckSpec(labels=("refund", "delivery"))).problems
    assert report.count("label-outside-set") == 1
    outside = next(problem for problem in report.examples() if problem.code == "label-outside-set")
    assert (outside.origin.line, outside.field) == (LINE, field)
    assert "Did you mean: delivery?" in outside.message
    for number, row in enumerate(data):
        put(row, ANSWER[format], "01"[number % 2])
    assert found(write_jsonl(path, data)) == {"number-as-label": [("train.jsonl", 1, field)]}


@pytest.mark.parametrize("format", ANSWERED)
def test_defects_of_labels_among_rows_and_files(format: str, tmp_path: Path) -> None:
    data = rows(format)
    for number, row in enumerate(data):
        put(row, ANSWER[format], ("refund", "delivery")[number % 2])
    path, field = tmp_path / "train.jsonl", record_field(format, answer=True)
    spelt = json.loads(json.dumps(data))
    put(spelt[INDEX], ANSWER[format], " Refund.")
    assert found(write_jsonl(path, spelt)) == {"label-variant": [("train.jsonl", LINE, field)]}
    like = json.loads(json.dumps(data))
    put(like[INDEX], PROMPT[format], read(like[3], PROMPT[format]).replace("?", " ?!"))
    places = found(write_jsonl(path, like))
    asked = record_field(format, answer=False) if format in PAIRS else "prompt"
    assert places == {code: [("train.jsonl", LINE, asked)] for code in ("near-duplicate", "near-conflict")}
    sorted_rows = [data[::2], data[1::2]]
    paths = [write_jsonl(tmp_path / f"{number}.jsonl", part) for number, part in enumerate(sorted_rows)]
    problems = [problem for problem in check(paths).problems.examples() if problem.code == "label-drift"]
    assert [(Path(each.origin.file).name, each.origin.line, each.field) for each in problems] == [
        (f"{number}.jsonl", 0, field) for number in (0, 0, 1, 1)
    ]


@pytest.mark.parametrize("format", ANSWERED)
def test_a_label_that_the_other_rows_contradict(format: str, tmp_path: Path) -> None:
    data = rows(format)
    for row in data:
        topic = ("train", "window", "customer", "budget", "ticket", "table", "hospital", "parcel")
        number = next(place for place, word in enumerate(topic) if word in read(row, PROMPT[format]))
        put(row, ANSWER[format], ("journey", "household")[number % 2])
    other = {"journey": "household", "household": "journey"}[read(data[INDEX], ANSWER[format])]
    put(data[INDEX], ANSWER[format], other)
    problems = check_data(write_jsonl(tmp_path / "train.jsonl", data), doubtful_labels=True).problems
    (problem,) = list(problems.examples())
    place = (problem.origin.line, problem.field)
    assert (problem.code, *place) == ("label-doubt", LINE, record_field(format, answer=True))


@pytest.mark.parametrize("format", ALL)
def test_overlap_of_train_and_test(format: str, tmp_path: Path) -> None:
    data = rows(format)
    train, test = data[:50], data[50:]
    equal, like = json.loads(json.dumps([train[3], train[5]]))
    put(like, PROMPT[format], read(like, PROMPT[format]).replace("?", " ??"))
    test[:2] = [equal, like]
    path, other = write_jsonl(tmp_path / "test.jsonl", test), write_jsonl(tmp_path / "train.jsonl", train)
    field = "text" if format in TEXTS else "prompt"
    places = found(path, against=[other], spec=CheckSpec(min_rows=2))
    assert places == {"train-test-overlap": [("test.jsonl", 1, field)], "near-overlap": [("test.jsonl", 2, field)]}


def test_few_rows_are_said(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "few.jsonl", rows("prompt-completion")[:31])
    assert found(path) == {"too-few-rows": [("few.jsonl", 0, "")]}


@pytest.mark.parametrize("format", ANSWERED)
def test_mistyped_key_is_met_with_a_suggestion(format: str, tmp_path: Path) -> None:
    data = rows(format)
    field = typo(data, format)
    problems = check(write_jsonl(tmp_path / "train.jsonl", data)).problems
    (problem,) = [each for each in problems.examples() if each.code == "missing-field"]
    assert (problem.origin.line, problem.field) == (LINE, field)
    assert f"Did you mean: {field.rpartition('.')[2]}s?" in problem.message


@pytest.mark.parametrize("value", ["\nHuman: hello", "x\n\nAssistant: hi", "Human: at the start"])
@pytest.mark.parametrize("path", ["system", "messages[0].content", "messages[1].content"])
def test_reserved_strings_of_claude(value: str, path: str, tmp_path: Path) -> None:
    data = rows("claude")
    put(data[INDEX], path, value)
    assert found(write_jsonl(tmp_path / "train.jsonl", data)) == {"reserved-string": [("train.jsonl", LINE, path)]}


def tool_row(**changes: Any) -> Row:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    row: Row = {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
        ],
    }
    for path, value in changes.items():
        put(row, path, value)
    return row


CALL = "messages[1].tool_calls[0]"
TOOLS = [
    ({}, {}),
    ({"tools[0].function": {"name": "weather"}}, {"tool-without-schema": "tools[0].function.parameters"}),
    ({"tools": []}, {"tool-without-schema": f"{CALL}.function.name"}),
    ({f"{CALL}.function.name": ["weather"]}, {"tool-without-schema": f"{CALL}.function.name"}),
    ({f"{CALL}.function.arguments": "{city: Oslo}"}, {"invalid-tool-arguments": f"{CALL}.function.arguments"}),
    ({"messages[2].tool_call_id": "c2"}, {"tool-call-without-result": CALL}),
]


@pytest.mark.parametrize(("changes", "expected"), TOOLS)
def test_tools_are_refused_with_every_defect(changes: Row, expected: dict[str, str], tmp_path: Path) -> None:
    data = rows("openai-chat")
    data[INDEX] = tool_row(**changes)
    places = found(write_jsonl(tmp_path / "train.jsonl", data))
    first = "messages[1]" if changes.get("tools") == [] else "tools"
    expected = {"tools-unsupported": first} | expected
    assert places == {code: [("train.jsonl", LINE, field)] for code, field in expected.items()}


OTHERS = {
    ("openai-chat", "unsupported-part", "messages[0].content[0]"): (
        "messages[0].content", [{"type": "image_url", "image_url": {"url": "x"}}],
    ),
    ("openai-chat", "wrong-value", "messages[1].weight"): ("messages[1].weight", 0.5),
    ("openai-chat", "nothing-to-learn", "messages"): ("messages[1].weight", 0),
    ("openai-chat", "ignored-key", "messages[1].nmae"): ("messages[1].nmae", "x"),
    ("bedrock-conversation-2024", "unsupported-part", "messages[0].content[0]"): (
        "messages[0].content", [{"image": {"format": "png"}}],
    ),
    ("bedrock-conversation-2024", "tools-unsupported", "messages[1].content[0]"): (
        "messages[1].content", [{"toolUse": {}}],
    ),
    ("bedrock-conversation-2024", "wrong-value", "schemaVersion"): ("schemaVersion", "bedrock-conversation-2023"),
    ("bedrock-conversation-2024", "wrong-type", "messages[0].content"): ("messages[0].content", "plain"),
    ("alpaca", "unsupported-part", "history"): ("history", [["Hello", "Hi"]]),
    ("sharegpt", "tools-unsupported", "tools"): ("tools", "[{}]"),
    ("sharegpt", "tools-unsupported", "conversations[1].from"): ("conversations[1].from", "function_call"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_defects_of_formats(case: tuple[str, str, str], tmp_path: Path) -> None:
    format, code, field = case
    data = rows(format)
    put(data[INDEX], *OTHERS[case])
    assert found(write_jsonl(tmp_path / "train.jsonl", data)) == {code: [("train.jsonl", LINE, field)]}


TABLES = {
    "bad-csv": ('prompt,completion\n"{0}",one\n"{1}" x,two\n{2},three\n', 3, "csv"),
    "ragged-row": ('prompt,completion\n"{0}\n\n",one\n{1},two,2\n{2},three\n', 5, "csv"),
    "blank-line": ("prompt\tcompletion\n{0}\tone\n\n{1}\ttwo\n", 3, "tsv"),
    "duplicate-key": ("prompt;completion;prompt\n{0};one;x\n", 1, "csv"),
    "empty-content": ('prompt,completion\n"{0}\nmore",one\n{1},\n', 4, "csv"),
}


@pytest.mark.parametrize("code", TABLES)
def test_defects_of_tables_have_physical_line_numbers(code: str, tmp_path: Path) -> None:
    content, line, suffix = TABLES[code]
    path = tmp_path / f"table.{suffix}"
    path.write_text(content.format(*prompts()))
    places = found(path, spec=CheckSpec(min_rows=0))
    assert [place[:2] for place in places[code]] == [(path.name, line)]
    assert len(places) == 1


FILES = {
    "empty-file": ("none.jsonl", b"", 0),
    "broken-compression": ("cut.jsonl.gz", b"\x1f\x8b\x08\x00rubbish", 0),
    "broken-parquet": ("not.parquet", b"PAR1 no", 0),
    "unknown-format": ("other.jsonl", b'{"question": "a", "reply": "b"}\n', 1),
    "not-utf8": ("wide.jsonl", '{"text": "a"}\n'.encode("utf-16"), 1),
}


@pytest.mark.parametrize("code", FILES)
def test_defects_of_files(code: str, tmp_path: Path) -> None:
    name, content, line = FILES[code]
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path / name) == {code: [(name, line, "")]}


def test_every_code_is_planted() -> None:
    planted = {
        *PLANTED, *LINES, *TABLES, *FILES, "line-too-long", "over-long", "completion-cut", "rare-label",
        "label-outside-set", "number-as-label", "label-variant", "near-conflict", "label-drift", "label-doubt",
        "train-test-overlap", "near-overlap", "too-few-rows", "reserved-string",
        "too-many-keys", "decompression-bomb",  # planted in test_hostile
        "unusable-invocation",  # planted in test_invocation_logs
        *(code for _, expected in TOOLS for code in expected), "tools-unsupported", *(code for _, code, _ in OTHERS),
    }  # fmt: skip
    assert planted == set(DEFECTS)
