"""The command line with workflows of the test's own behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli import workflows
from outcrop.cli.app import app
from outcrop.core.catalog import Catalog


@dataclass(frozen=True)
class Answer:
    """A result as workflows return them."""

    fields: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return self.fields


@dataclass
class Command:
    """Runs `outcrop` in this process; `calls` are the (name, arguments) with which workflows were called."""

    monkeypatch: pytest.MonkeyPatch
    module: ModuleType
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def provide(self, name: str, answer: Callable[..., Any]) -> None:
        """Put a function behind a workflow's name."""

        def recorded(*positional: Any, **arguments: Any) -> Any:
            self.calls.append((name, {"positional": positional, **arguments} if positional else arguments))
            return answer(*positional, **arguments)

        attribute = name.replace("-", "_")
        setattr(self.module, attribute, recorded)
        table = {each: f"{self.module.__name__}:{each.replace('-', '_')}" for each in workflows.WORKFLOWS}
        self.monkeypatch.setattr(workflows, "WORKFLOWS", Catalog("workflow", table))

    def __call__(self, *args: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, args, input=stdin, prog_name="outcrop")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """`outcrop` with no workflow behind it yet."""
    module = ModuleType("workflows_of_the_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Command(monkeypatch, module)


@pytest.fixture
def answer() -> type[Answer]:
    """The type of results that fake workflows return."""
    return Answer
