"""Batch jobs over a tiny model: rows in, lines of results out, and how often the model was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop.core.completions import CompletionRequest
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.workflows.batch_infer import BatchResult


def write_rows(path: Path, rows: Sequence[dict[str, Any] | str]) -> Path:
    """A .jsonl file; texts are written as they are."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a result."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run(model: Path | str, data: Path | Sequence[Path], to: Path, **options: Any) -> BatchResult:
    """A job of few tokens."""
    options = {"sampling": {"max_new_tokens": 6}} | options
    paths = [data] if isinstance(data, Path) else data
    return outcrop.batch(str(model), [str(path) for path in paths], str(to), **options)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CompletionRequest]]:
    """The requests that engines were given in the block."""
    seen: list[CompletionRequest] = []
    answers = EmbeddedEngine.answers

    def recorded(self: EmbeddedEngine, request: CompletionRequest, where: str, *, live: bool = False) -> Any:
        seen.append(request)
        return answers(self, request, where, live=live)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedEngine, "answers", recorded)
        yield seen
