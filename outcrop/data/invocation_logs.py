"""Bedrock's invocation logs as prompts with the answers that were given: which of them, by their request metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from outcrop.core.errors import UsageError
from outcrop.core.files import digest
from outcrop.core.spec import Spec, describe, parameter
from outcrop.data.formats.catalog import SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.formats.jsonl import rows
from outcrop.data.problems import Problems, Site
from outcrop.data.prompts import asked
from outcrop.data.records import Record
from outcrop.data.unanswered import PLACEHOLDER

FORMAT = "bedrock-invocation-log"
SCHEMA = "ModelInvocationLog"
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
LARGE_BODIES = "data"
"""The folder in which bodies lie that were too large for their record."""


class MetadataFilter(Spec):
    """Bedrock's requestMetadataFilters: one of its four kinds."""

    equals: dict[str, str] | None = parameter(None, "names and the values that they must have")
    not_equals: dict[str, str] | None = parameter(None, "names and values that they must not have")
    and_all: tuple[MetadataFilter, ...] | None = parameter(None, "filters that must all hold")
    or_all: tuple[MetadataFilter, ...] | None = parameter(None, "filters of which one must hold")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len([part for part in (self.equals, self.not_equals, self.and_all, self.or_all) if part]) != 1:
            raise ValueError("a filter is one of equals, notEquals, andAll and orAll, and says something")
        return self

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> MetadataFilter | None:
        """Read NAME=VALUE, NAME!=VALUE, or Bedrock's JSON; several must all hold. Raises UsageError."""
        found = tuple(cls._from_text(text) for text in texts)
        return None if not found else found[0] if len(found) == 1 else cls(and_all=found)

    @classmethod
    def _from_text(cls, text: str) -> MetadataFilter:
        if text.lstrip().startswith("{"):
            try:
                return cls.model_validate(_our_names(json.loads(text)))
            except ValidationError as error:
                raise UsageError(
                    f"--where: {describe(error, cls)}", "Write Bedrock's requestMetadataFilters."
                ) from None
            except ValueError as error:
                raise UsageError(f"--where is no JSON: {error}.", "Write NAME=VALUE, or JSON.") from None
        name, sign, value = text.partition("=")
        if not sign or not name.strip("! "):
            raise UsageError(f"--where {text!r} is no filter.", "Write NAME=VALUE or NAME!=VALUE.")
        pair = {name.removesuffix("!").strip(): value.strip()}
        return cls(not_equals=pair) if name.endswith("!") else cls(equals=pair)

    def holds(self, metadata: Mapping[str, str]) -> bool:
        """Whether an invocation with this metadata is wanted."""
        if self.equals:
            return all(metadata.get(name) == value for name, value in self.equals.items())
        if self.not_equals:
            return all(metadata.get(name) != value for name, value in self.not_equals.items())
        if self.and_all:
            return all(part.holds(metadata) for part in self.and_all)
        return any(part.holds(metadata) for part in self.or_all or ())


class InvocationLogs:
    """Logs in files or folders. filtered: invocations that the filter left out, so far."""

    def __init__(self, paths: Sequence[str], where: MetadataFilter | None = None) -> None:
        """Raises UsageError for a path that does not exist or holds no log."""
        self._files = [file for path in paths for file in _log_files(Path(path))]
        self._where, self.filtered = where, 0

    def read(self, problems: Problems) -> Iterator[Record]:
        """The invocations as records, in order. One that failed, or of which no text was logged, is a problem told as a
        warning; an answer that is missing leaves its prompt without one."""
        for file in self._files:
            for row in rows(file, str(file), problems):
                record = self._record(row, problems)
                if record is not None:
                    yield record

    def digest(self) -> str:
        """One digest of the bytes of all files, in order, and of the filter."""
        total = hashlib.sha256(self._where.model_dump_json().encode() if self._where else b"")
        for file in self._files:
            total.update(digest(file).encode())
        return f"sha256:{total.hexdigest()}"

    def _record(self, row: Row, problems: Problems) -> Record | None:
        site, logged = Site(problems, row.origin), row.values
        if logged.get("schemaType") != SCHEMA:
            site.add("format-mismatch", f"no {SCHEMA}")
            return None
        metadata = logged.get("requestMetadata") or {}
        if self._where is not None and not self._where.holds(metadata):
            self.filtered += 1
            return None
        given = (logged.get("input") or {}).get("inputBodyJson")
        if logged.get("errorCode") or not isinstance(given, dict):
            why = "it failed" if logged.get("errorCode") else "its text was not logged, or lies in an object of its own"
            site.add("unusable-invocation", f"{logged.get('requestId', 'an invocation')}: {why}")
            return None
        answer = _answer((logged.get("output") or {}).get("outputBodyJson")) or PLACEHOLDER
        kept = ("modelId", "requestId", "requestMetadata")
        fields: dict[str, Any] = {name: logged[name] for name in kept if name in logged}
        prompt = given.get("prompt") or given.get("inputText")
        if isinstance(prompt, str):
            values: dict[str, Any] = {"prompt": prompt, "completion": answer}
            record = SHAPES.load("prompt-completion").parse({**values, **fields}, site)
        else:
            turns = [*_system(given.get("system")), *map(_turn, given.get("messages") or [])]
            said = {"messages": [*turns, {"role": "assistant", "content": answer}]}
            record = SHAPES.load("openai-chat").parse({**said, **fields}, site)
        return None if record is None else asked(record)


def _log_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path} does not exist.", "Check the path.")
    found = sorted(
        file for file in path.rglob("*")
        if file.name.endswith(SUFFIXES) and LARGE_BODIES not in file.relative_to(path).parts[:-1] and file.is_file()
    )  # fmt: skip
    if not found:
        raise UsageError(f"The folder {path} holds no logs.", f"Logs end in {', '.join(SUFFIXES)}.")
    return found


def _turn(turn: Any) -> dict[str, Any]:
    """A turn in Converse's form, Claude's or OpenAI's as one with a text."""
    values = turn if isinstance(turn, dict) else {}
    return {"role": values.get("role"), "content": _text(values.get("content"))}


def _system(given: Any) -> list[dict[str, Any]]:
    text = _text(given)
    return [{"role": "system", "content": text}] if text else []


def _text(content: Any) -> Any:
    """The text of a content: a text, or the texts of its blocks, one line each; anything else is left to checks."""
    if isinstance(content, list) and all(isinstance(block, dict) and "text" in block for block in content):
        return "\n".join(str(block["text"]) for block in content)
    return content


def _answer(body: Any) -> str:
    """The text that was answered, in the forms of Converse, its streams, and the models behind InvokeModel."""
    if isinstance(body, list):
        deltas = [
            (chunk.get("contentBlockDelta") or {}).get("delta") or {} for chunk in body if isinstance(chunk, dict)
        ]
        return "".join(str(delta.get("text", "")) for delta in deltas).strip()
    if not isinstance(body, dict):
        return ""
    message = (body.get("output") or {}).get("message") if isinstance(body.get("output"), dict) else None
    choices = body.get("choices") or body.get("results") or body.get("outputs") or [{}]
    first = choices[0] if isinstance(choices[0], dict) else {}
    ways = (
        message and message.get("content"), body.get("content"), (first.get("message") or {}).get("content"),
        first.get("text"), first.get("outputText"), body.get("completion"), body.get("generation"),
    )  # fmt: skip
    text = next((_text(way) for way in ways if way), "")
    return text.strip() if isinstance(text, str) else ""


def _our_names(value: Any) -> Any:
    """Bedrock's names of filters as ours; names of metadata stay."""
    if not isinstance(value, dict):
        return value
    names = {"equals": "equals", "notEquals": "not_equals", "andAll": "and_all", "orAll": "or_all"}
    parts = {names.get(name, name): part for name, part in value.items()}
    return {name: [_our_names(p) for p in part] if isinstance(part, list) else part for name, part in parts.items()}
