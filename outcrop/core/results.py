"""Results that become JSON and come back, checked field by field; and a number with its confidence interval."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from outcrop.core.errors import DataError, did_you_mean


class JsonReady:
    """Base of result types: to plain dicts, lists and scalars, and back."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; tuples become lists."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`. Raises DataError for unknown or missing fields and for values of another type."""
        built: Self = _build(cls, values, cls.__name__)
        return built


@dataclass(frozen=True)
class Estimate(JsonReady):
    """A number with its confidence interval, the rows behind it and how the interval was made.

    low, high: None where there is no interval, because one row says nothing of how much rows differ.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    method: str


@dataclass(frozen=True)
class BoundedEstimate(Estimate):
    """An estimate that has an interval."""

    low: float
    high: float


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _build(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        return _checked(value in arguments, value, where, "one of " + ", ".join(map(str, arguments)))
    if origin is dict:
        _checked(isinstance(value, Mapping), value, where, "an object")
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    number = kind is float and isinstance(value, int | float) and not isinstance(value, bool)
    return _checked(number or type(value) is kind, value, where, kind.__name__)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _checked(isinstance(value, Mapping), value, where, "an object")
    hints = get_type_hints(kind)
    unknown = [name for name in value if name not in hints]
    if unknown:
        raise DataError(f"Unknown field {unknown[0]}.", did_you_mean(unknown[0], hints), where)
    try:
        return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as error:
        raise DataError(f"Not a whole {kind.__name__}: {error}.", "Write it with as_dict.", where) from None


def _build_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _checked(isinstance(value, list | tuple), value, where, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    _checked(len(value) == len(arguments), value, where, f"a list of {len(arguments)}")
    parts = zip(arguments, value, strict=True)
    return tuple(_build(part, item, f"{where}[{index}]") for index, (part, item) in enumerate(parts))


def _checked(right: bool, value: Any, where: str, allowed: str) -> Any:
    if not right:
        raise DataError(f"{value!r:.80} is not {allowed}.", "Write results with as_dict.", where)
    return value
