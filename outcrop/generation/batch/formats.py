"""The forms of batch files: Bedrock's, OpenAI's, and plain records; what a row asks, and how its answer is written."""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping as Fields
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from outcrop.core.completions import Completion
from outcrop.core.errors import UsageError, did_you_mean
from outcrop.data.formats.container import Row
from outcrop.data.formats.json_text import type_name
from outcrop.data.mapping import Mapping, reference
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Conversation, Origin, Record
from outcrop.data.unanswered import mapped, read_by_form
from outcrop.generation.batch.questions import BodyReader, Question, Refusal, Written
from outcrop.models.asking import asked_record
from outcrop.models.folder import ModelFolder

ANSWER, REASON, ERROR = "answer", "finish_reason", "error"
"""What plain rows gain."""
INVOCATIONS = ("InvokeModel", "Converse")


class OutputLine(NamedTuple):
    """A line of a result. suffix: of the file it belongs to, after the name of the input file."""

    suffix: str
    values: dict[str, Any]


class BatchFormat(ABC):
    """One form of batch files. suffixes: of the files that are written for one input file."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def question(self, row: Row) -> Question:
        """What a row asks. Raises UserError where it cannot be read."""

    @abstractmethod
    def line(self, row: Row | None, origin: Origin, written: Written | Refusal) -> OutputLine:
        """The result of a row; None stands for one that is no JSON object."""


def row_id(origin: Origin) -> str:
    """A short name of a row, the same in every run. The origin's file is named as the user's folder holds it."""
    return hashlib.sha256(f"{origin.file}:{origin.line}".encode()).hexdigest()[:24]


@dataclass(frozen=True)
class BedrockBatch(BatchFormat):
    """{"recordId", "modelInput"} → the same with "modelOutput" or "error"."""

    read: BodyReader
    invocation: str = "InvokeModel"
    name: ClassVar[str] = "bedrock-batch"
    suffixes: ClassVar[tuple[str, ...]] = (".out",)

    def question(self, row: Row) -> Question:
        """What modelInput asks."""
        _check_type(row.values.get("recordId", ""), str, "recordId", "a text")
        return self.read(self.invocation, _object(row, "modelInput"))

    def line(self, row: Row | None, origin: Origin, written: Written | Refusal) -> OutputLine:
        """The row with its output or its error; one without a recordId is given one."""
        values = row.values if row else {"modelInput": {}}
        made = base64.b32encode(bytes.fromhex(row_id(origin)))[:11].decode()
        named = {"recordId": values.get("recordId", made), **values}
        if isinstance(written, Refusal):
            error = {"errorCode": written.status, "errorMessage": written.message}
            return OutputLine(".out", named | {"error": error})
        return OutputLine(".out", named | {"modelOutput": written})


@dataclass(frozen=True)
class OpenAIBatch(BatchFormat):
    """{"custom_id", "method", "url", "body"} → a response, in one file, or an error, in another."""

    read: BodyReader
    name: ClassVar[str] = "openai-batch"
    suffixes: ClassVar[tuple[str, ...]] = (".output.jsonl", ".errors.jsonl")

    def question(self, row: Row) -> Question:
        """What the body asks at its url."""
        _check_type(row.values.get("custom_id"), str, "custom_id", "a text")
        if row.values.get("method", "POST") != "POST":
            raise UsageError(f"method is {row.values['method']!r:.80}.", "Allowed: POST.")
        url = row.values.get("url")
        _check_type(url, str, "url", "a text")
        return self.read(str(url), _object(row, "body"))

    def line(self, row: Row | None, origin: Origin, written: Written | Refusal) -> OutputLine:
        """The response to a row, as OpenAI's output and error files have it."""
        name = row_id(origin)
        head = {"id": f"batch_req_{name}", "custom_id": row.values.get("custom_id") if row else None}
        refused = isinstance(written, Refusal)
        status, body = (written.status, _openai_error(written)) if isinstance(written, Refusal) else (200, written)
        response = {"status_code": status, "request_id": f"req_{name}", "body": body}
        return OutputLine(self.suffixes[refused], head | {"response": response, "error": None})


@dataclass(frozen=True)
class PlainRecords(BatchFormat):
    """Records of any format that is read for training, answered or not → the row and its answer.

    mapping: the user's, or that of the model's training rows; form: the name of a record format, None to recognise it.
    """

    folder: ModelFolder
    mapping: Mapping | None = None
    form: str | None = None
    name: ClassVar[str] = "records"
    suffixes: ClassVar[tuple[str, ...]] = (".answers.jsonl",)

    def question(self, row: Row) -> Question:
        """What the row's prompt, text or conversation asks."""
        for field in (ANSWER, REASON, ERROR):
            if field in row.values:
                raise UsageError(f"The row has a field {field} already.", "Rename it: the answer is put there.")
        prompt, named = row.values.get("prompt"), self.mapping or self.form  # a named form is asked as it is read
        if not named and isinstance(prompt, str) and prompt:
            return Question(asked_record(self.folder, prompt, row.origin), {}, _plain)
        record = self._record(row)
        if not named and isinstance(record, Conversation):
            record = asked_record(self.folder, record.messages, row.origin)
        return Question(record, {}, _plain)

    def line(self, row: Row | None, origin: Origin, written: Written | Refusal) -> OutputLine:
        """The row with its answer, or with its error."""
        values = dict(row.values) if row else {"line": origin.line}
        if isinstance(written, Refusal):
            written = {ERROR: {"code": written.status, "message": written.message}}
        return OutputLine(".answers.jsonl", values | written)

    def _record(self, row: Row) -> Record:
        problems = Problems(examples=20)
        site = Site(problems, row.origin)
        record = mapped(self.mapping, row, site) if self.mapping else read_by_form(row, site, self.form)
        if record is None or site.failed:
            found = [problem for problem in problems.examples() if problem.severity == "error"]
            told = "; ".join(f"{problem.field + ': ' if problem.field else ''}{problem.message}" for problem in found)
            remedies = " ".join(dict.fromkeys(problem.remedy for problem in found))
            raise UsageError(f"{told}.", remedies, str(row.origin))
        return record


def stored_mapping(folder: ModelFolder, mapping: Mapping | None, row: Row) -> Mapping | None:
    """The mapping that a tuned model's training rows were read with, where this row has all that it asks with."""
    if mapping is None:
        return None
    asked = [reference(column).name for target, column in mapping.columns.items() if target != "completion"]
    return mapping if asked and all(name in row.values for name in asked) else None


def recognised(rows: Sequence[Row]) -> str:
    """The name of the batch format of most of a file's first rows; "records" where it is none of the two."""
    counts = {
        "bedrock-batch": sum("modelInput" in row.values for row in rows),
        "openai-batch": sum({"custom_id", "body"} <= row.values.keys() for row in rows),
    }
    best = max(counts, key=lambda name: counts[name])
    return best if 2 * counts[best] > len(rows) else "records"


def _plain(completions: Sequence[Completion], row: str) -> Written:
    [answer] = completions
    return {ANSWER: answer.text, REASON: answer.finish_reason}


def _openai_error(refusal: Refusal) -> dict[str, Any]:
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": None}}


def _object(row: Row, key: str) -> Fields[str, Any]:
    if key not in row.values:
        raise UsageError(f"The row has no {key}.", did_you_mean(key, map(str, row.values)) if row.values else "Add it.")
    _check_type(row.values[key], dict, key, "an object")
    value: Fields[str, Any] = row.values[key]
    return value


def _check_type(value: Any, kind: type, key: str, allowed: str) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"{key} is {type_name(value)}.", f"Allowed: {allowed}.")
