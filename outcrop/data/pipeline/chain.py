"""The chain of a preparation: which steps in which order, every parameter with where its value came from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.spec import Resolved, Spec
from outcrop.data.steps.catalog import DEFAULT_CHAIN, STEPS
from outcrop.data.steps.step import RowStep, SetStep, Step, Tools

Values = Mapping[str, Mapping[str, Any]]
"""Parameters by step and name."""


@dataclass(frozen=True)
class Link:
    """One step of a chain with its parameters; sources: where each value came from that is no default."""

    name: str
    spec: Spec
    sources: Mapping[str, str]

    def build(self, tools: Tools) -> RowStep[Any] | SetStep[Any]:
        """The step, ready to work."""
        step: Step[Any] = STEPS.load(self.name)(self.spec, tools)
        if not isinstance(step, RowStep | SetStep):
            raise TypeError(f"{self.name} is neither a row step nor a set step")
        return step

    def files(self) -> list[Path]:
        """What the step reads beside the records."""
        return STEPS.load(self.name).files_of(self.spec)


@dataclass(frozen=True)
class Chain:
    """Steps in order, each at most once."""

    links: tuple[Link, ...]

    def __contains__(self, name: object) -> bool:
        return any(link.name == name for link in self.links)

    def __getitem__(self, name: str) -> Link:
        return next(link for link in self.links if link.name == name)

    def resolved(self) -> list[Resolved]:
        """Every parameter of every step as it will be used, and where it came from."""
        return [
            Resolved(f"{link.name}.{name}", value, link.sources.get(name, "default"))
            for link in self.links
            for name, value in link.spec.model_dump(mode="json").items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Names and parameters, JSON-ready: what makes two chains the same."""
        return {link.name: link.spec.model_dump(mode="json") for link in self.links}

    def recipe(self) -> str:
        """The chain as a recipe file that says every parameter; None is left out, as TOML has no word for it."""
        lines = [f"steps = {json.dumps([link.name for link in self.links])}"]
        for link in self.links:
            lines += ["", f"[{link.name}]"]
            for name, value in link.spec.model_dump(mode="json").items():
                if value is not None:
                    source = link.sources.get(name, "default")
                    lines.append(f"{name} = {_toml(value)}" + ("" if source == "default" else f"  # {source}"))
        return "\n".join(lines) + "\n"


def chain(
    steps: Sequence[str] | None = None,
    settings: Values | None = None,
    recipe: Path | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
) -> Chain:
    """The chain of a recipe and of settings, which win over it; parameters of a step that is not named are refused.

    steps: names in order, in place of the recipe's; sources: what to call the source of a setting. Without steps and
    recipe it is the default chain, with every step added, at its place, of which a parameter is set.
    Raises UsageError naming every unknown step and parameter.
    """
    from_file = read_recipe(recipe) if recipe else {}
    settings = settings or {}
    named = steps if steps is not None else from_file.pop("steps", None)
    from_file.pop("steps", None)
    if named is None:
        named = [name for name in STEPS if name in {*DEFAULT_CHAIN, *settings, *from_file}]
    _check_names(named, [*settings, *from_file], str(recipe or ""))
    links = []
    for name in named:
        given = dict(settings.get(name, {}))
        filed = from_file.get(name, {})
        origin = (
            dict.fromkeys(filed, str(recipe)) | dict.fromkeys(given, "argument") | dict((sources or {}).get(name, {}))
        )
        spec_type = STEPS.load(name).spec_type
        spec_type.parse(filed, where=f"{recipe}, [{name}]")  # where the file is at fault, the message says so
        links.append(Link(name, spec_type.parse({**filed, **given}, where=f"step {name}"), origin))
    return Chain(tuple(links))


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe: `steps` and one table per step. Raises UsageError where it is none."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The recipe cannot be read: {error.strerror}.", "Give a TOML file.", str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe is no TOML: {error}.", 'Begin with steps = ["clean"].', str(path)) from None
    for name, value in values.items():
        if name == "steps":
            if not isinstance(value, list) or not all(isinstance(step, str) for step in value):
                raise UsageError("`steps` is no list of names.", 'Write steps = ["clean", "dedupe"].', str(path))
        elif not isinstance(value, dict):
            raise UsageError(f"{name} stands outside of a step's table.", f"Write it below [{name}].", str(path))
    return values


def parse_assignments(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings from words of the form STEP.NAME=VALUE; a value is JSON where it can be read as that, else text."""
    values: dict[str, dict[str, Any]] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        step, dot, name = key.strip().partition(".")
        if not (equals and dot and step and name):
            raise UsageError(f"--set {text!r} is not of the form STEP.NAME=VALUE.", "Example: --set dedupe.near=0.9")
        _check_names([], [step], "--set")
        if name in values.setdefault(step, {}):
            raise UsageError(f"--set gives {step}.{name} twice.", "Give it once.")
        values[step][name] = _value(value.strip(), STEPS.load(step).spec_type, name, step)
    return values


def _value(text: str, spec: type[BaseModel], name: str, step: str) -> Any:
    """Lists and tables are written as JSON, or with commas: A,B or A=1,B=2; everything else is text, which the spec
    reads as its type."""
    kind = str(spec.model_fields[name].annotation) if name in spec.model_fields else ""
    if not any(word in kind for word in ("tuple", "dict", "list")):
        return None if text == "null" else text
    try:
        return json.loads(text)
    except ValueError:
        words = [part.strip() for part in text.split(",")]
        if "dict" not in kind:
            return words
        pairs = [word.rpartition("=") for word in words]
        if not all(key and value for key, _, value in pairs):
            remedy = f"Examples: --set {step}.{name}=a.jsonl=2,b.jsonl=0.5 or a JSON object."
            raise UsageError(f"--set {step}.{name}={text} does not say what has which value.", remedy) from None
        return {key.strip(): value.strip() for key, _, value in pairs}


def _check_names(named: Sequence[str], configured: Sequence[str], where: str) -> None:
    problems = [
        f"Unknown step {name}. {did_you_mean(name, STEPS)}" for name in [*named, *configured] if name not in STEPS
    ]
    if not problems:
        problems += _after_the_last(named)
    problems += [f"The step {name} is named twice." for name in sorted({n for n in named if list(named).count(n) > 1})]
    if named and not problems:
        problems += [
            f"Parameters are given for {name}, which is not among the steps {', '.join(named)}."
            for name in configured
            if name not in named
        ]
    if problems:
        raise UsageError(" ".join(dict.fromkeys(problems)), where=where)


def _after_the_last(named: Sequence[str]) -> list[str]:
    """What is wrong with the order: a step that shares rows out or orders them can be followed by no other kind."""
    last = [name for name in STEPS if STEPS.load(name).is_last]
    ending = [name for name in named if name in last]
    wanted = [name for name in named if name not in last] + sorted(ending, key=last.index)
    if list(named) == wanted:
        return []
    return [f"{' and '.join(last)} come last, in this order. Write: {','.join(wanted)}."]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
