"""Frozen specifications: one definition of a parameter, from which flags, schema and docs derive."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo

from outcrop.core.errors import UsageError


class Spec(BaseModel):
    """Base of all specifications: frozen, strict about names, with bounds in its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "", names: Mapping[str, str] | None = None) -> Self:
        """Build from untyped values. Raises UsageError naming every wrong field, what it was, what is allowed.

        names: of fields as the user gave them, where they are not ours.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(describe(error, cls, names or {}), where=where) from None


def parameter(default: Any, doc: str, *, unit: str = "", bedrock: str = "", source: str = "", **bounds: Any) -> Any:
    """A field of a Spec.

    doc: one line for help and docs; unit: of the value ("rows", "tokens", "seconds");
    bedrock: its name in Bedrock's hyperParameters; source: paper or document behind the default;
    bounds: pydantic constraints (ge, gt, le, lt).
    """
    given = (("unit", unit), ("bedrock", bedrock), ("source", source))
    extra: dict[str, JsonValue] = {name: value for name, value in given if value}
    return Field(default, description=doc, json_schema_extra=extra or None, **bounds)


def extra_of(field: FieldInfo, name: str) -> str:
    """A piece of `parameter`'s metadata ("unit", "bedrock" or "source"), or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get(name, "")) if isinstance(extra, dict) else ""


def kind_of(field: FieldInfo) -> Any:
    """The type of a field's values, without the None that stands for "resolved later"."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def bounds_of(field: FieldInfo) -> tuple[str, ...]:
    """The bounds of a field as text: ("≥ 1", "≤ 100")."""
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
    return tuple(
        f"{sign} {getattr(bound, name):g}" for bound in field.metadata for name, sign in signs if hasattr(bound, name)
    )


def describe(error: ValidationError, spec: type[BaseModel], names: Mapping[str, str] = MappingProxyType({})) -> str:
    """All problems of a ValidationError in the user's words, with suggestions for unknown names.

    names: of fields as the user gave them, where they are not ours.
    """
    sentences = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        name = names.get(name, name)
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, spec.model_fields, n=1, cutoff=0.5)
            hint = f"Did you mean: {near[0]}?" if near else f"Allowed: {', '.join(spec.model_fields)}."
            sentences.append(f"Unknown parameter {name}. {hint}")
            continue
        reason = problem["msg"].removeprefix("Value error, ")
        given = f"(given: {problem['input']!r})"
        sentences.append(f"{name or 'The specification'}: {reason[0].lower()}{reason[1:]} {given}.")
    return " ".join(sentences)


@dataclass(frozen=True)
class Resolved:
    """One parameter as it will be used, and where its value came from (default, flag, file, base model, data)."""

    name: str
    value: Any
    source: str
