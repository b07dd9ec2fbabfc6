"""Flags, --set and --settings for the fields of TrainingSpec: generated from it, resolved by precedence."""

from __future__ import annotations

import functools
import inspect
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.spec import extra_of
from outcrop.training.spec import TrainingSpec, bedrock_names

PANEL = "Hyperparameters"
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
PARAMETER = "hyperparameters"
"""The name of the parameter by which a command receives them."""


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters a user gave, checked, by our names; sources says for each: "flag", "--set" or "file"."""

    settings: Mapping[str, Any]
    sources: Mapping[str, str]


def with_hyperparameters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --set, --settings and one option for each field of TrainingSpec.

    The command has a parameter `hyperparameters: Hyperparameters`, and gets it filled.
    """
    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != PARAMETER]

    @functools.wraps(command)
    def with_flags(**arguments: Any) -> None:
        flags = {name: arguments.pop(name) for name in TrainingSpec.model_fields}
        given = gather(flags, arguments.pop("assignments") or [], arguments.pop("settings_file"))
        command(**arguments, **{PARAMETER: given})

    parameters = [*own, *_file_options(), *(_option(name, field) for name, field in TrainingSpec.model_fields.items())]
    with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return with_flags


def gather(flags: Mapping[str, Any], assignments: Sequence[str] = (), file: Path | None = None) -> Hyperparameters:
    """The values given by flags (None: not given), by --set name=value and by a TOML file; in this order they win.

    Names are ours or Bedrock's. Raises UsageError for unknown names, names given twice, and values out of bounds.
    """
    from_file = _canonical(list(_read(file).items()), str(file)) if file else {}
    from_assignments = _canonical([_split(text) for text in assignments], "--set")
    from_flags = {name: value for name, value in flags.items() if value is not None}
    values = from_file | from_assignments | from_flags
    layers = (("file", from_file), ("--set", from_assignments), ("flag", from_flags))
    sources = {name: source for source, layer in layers for name in layer}
    try:
        spec = TrainingSpec.parse(values)
    except UsageError:
        TrainingSpec.parse(from_file, where=str(file))  # where the file is at fault, the message says so
        raise
    return Hyperparameters({name: getattr(spec, name) for name in values}, sources)


def _split(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set {assignment!r} is not of the form name=value.", "Example: --set learning_rate=0.001")
    return name.strip(), value.strip()


def _read(file: Path) -> dict[str, Any]:
    """The top level of a TOML file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--settings cannot be read: {error.strerror}.", "Give a TOML file.", str(file)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        example = "Write one name = value on each line."
        raise UsageError(f"--settings is no TOML: {error}.", example, str(file)) from None


def _canonical(pairs: Sequence[tuple[str, Any]], where: str) -> dict[str, Any]:
    """The pairs by our names. Raises UsageError naming every unknown name and every name given twice."""
    ours: dict[str, Any] = {}
    problems: list[str] = []
    bedrock = bedrock_names()
    for given, value in pairs:
        name = bedrock.get(given, given.replace("-", "_"))
        if name not in TrainingSpec.model_fields:
            problems.append(f"Unknown hyperparameter {given}. {_suggestion(given)}")
        elif name in ours:
            problems.append(f"{name} is given twice: {ours[name]} and {value}.")
        else:
            ours[name] = value
    if problems:
        raise UsageError(" ".join(problems), where=where)
    return ours


def _suggestion(given: str) -> str:
    """The nearest name of the convention the user writes in: Bedrock's where there are capitals, else ours."""
    camel = given != given.lower()
    return did_you_mean(given, bedrock_names() if camel else TrainingSpec.model_fields)


def _file_options() -> list[inspect.Parameter]:
    assignments = typer.Option(
        "--set", metavar="NAME=VALUE", rich_help_panel=PANEL,
        help="A hyperparameter by our name or by Bedrock's (epochCount). Repeatable.",
    )  # fmt: skip
    file = typer.Option(
        "--settings", metavar="FILE.toml", rich_help_panel=PANEL,
        help="Hyperparameters from a file; --set wins over it, and a flag over both.",
    )  # fmt: skip
    return [
        _keyword("assignments", Annotated[list[str] | None, assignments]),
        _keyword("settings_file", Annotated[Path | None, file]),
    ]


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """The flag of a field. Its value stays text: TrainingSpec alone knows what is allowed, and names all faults."""
    kind = _kind(field)
    flag = name.replace("_", "-")
    text = f"{field.description}\n{_facts(field)}"
    if kind is bool:
        info = typer.Option(f"--{flag}/--no-{flag}", help=text, rich_help_panel=PANEL)
        return _keyword(name, Annotated[bool | None, info])
    choices = [str(choice) for choice in get_args(kind)]
    metavar = "NAME" if choices else kind.__name__.upper()
    info = typer.Option(
        f"--{flag}", help=text, rich_help_panel=PANEL, metavar=metavar, autocompletion=_completion(choices)
    )
    return _keyword(name, Annotated[str | None, info])


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(field: FieldInfo) -> Any:
    """The type of a field without its None."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _facts(field: FieldInfo) -> str:
    """What is allowed, the unit, the default, Bedrock's name."""
    choices = ", ".join(str(choice) for choice in get_args(_kind(field)))
    limits = {key: _plain(getattr(bound, key)) for bound in field.metadata for key in BOUNDS if hasattr(bound, key)}
    bounds = " and ".join(f"{BOUNDS[key]} {limit}" for key, limit in limits.items())
    if limits.keys() == {"ge", "le"}:
        bounds = f"{limits['ge']} to {limits['le']}"
    default = "" if field.default is None else f"default {_plain(field.default)}"
    bedrock = extra_of(field, "bedrock")
    allowed = " ".join(part for part in (bounds, extra_of(field, "unit")) if part)
    return " · ".join(fact for fact in (choices, allowed, default, bedrock and f"Bedrock: {bedrock}") if fact)


def _plain(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
