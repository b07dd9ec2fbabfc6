"""Conditions on a record in a small language, parsed by Python's grammar and evaluated by rules of our own, never eval.

len(completion) > 20 and not matches(prompt, "^test")
fields["score"] >= 0.5 or "urgent" in lower(prompt)
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from outcrop.core.errors import DataError, UsageError, did_you_mean
from outcrop.data.records import Record, answer_text, parts, prompt_text

Value = Callable[[Record], Any]

NAMES: dict[str, Value] = {
    "prompt": prompt_text,
    "completion": answer_text,
    "text": lambda record: "\n".join(part.text for part in parts(record)),
    "kind": lambda record: type(record).__name__.lower(),
    "turns": lambda record: len(parts(record)),
    "file": lambda record: record.origin.file,
    "line": lambda record: record.origin.line,
    "fields": lambda record: record.fields,
}
"""What an expression may name, and its value."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right, ast.NotIn: lambda left, right: left not in right,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
LONGEST = 2000
"""Characters of an expression."""

REMEDY = (
    f"Allowed: {', '.join(NAMES)}, numbers, texts, lists, < <= > >= == !=, in, and, or, not, + - * /, "
    "len(), words(), lower(), matches(text, pattern)."
)


def _plus(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    for value in (left, right):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"arithmetic with {type(value).__name__}")
    return operation(left, right)


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "len": (1, len),
    "words": (1, lambda text: len(text.split())),
    "lower": (1, lambda text: text.lower()),
    "matches": (2, lambda text, pattern: _pattern(pattern).search(text) is not None),
}
"""By name: the number of arguments, and what it does."""


def parse(text: str) -> Callable[[Record], bool]:
    """The condition that an expression states.

    Raises UsageError saying what in it is not allowed; called with a record on which it cannot be evaluated (a missing
    field, a text compared with a number) it raises DataError naming the row.
    """
    if len(text) > LONGEST:
        raise UsageError(f"An expression of {len(text):,} characters.", f"Write at most {LONGEST:,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        value = _compiled(tree.body)
    except SyntaxError as error:
        raise UsageError(f"The expression {text!r} cannot be read: {error.msg}.", REMEDY) from None
    except (RecursionError, MemoryError):
        raise UsageError("The expression is nested too deeply.", "Write several expressions.") from None

    def condition(record: Record) -> bool:
        try:
            return bool(value(record))
        except (TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            remedy = 'Ask first whether it is there: "score" in fields and fields["score"] > 0.5'
            raise DataError(f"The expression {text!r} has no value here: {said}.", remedy, str(record.origin)) from None

    return condition


def _compiled(node: ast.expr) -> Value:
    """The value of a node as a function of the record."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return _constant(node.value)
    if isinstance(node, ast.Name):
        if node.id not in NAMES:
            raise UsageError(f"Unknown name {node.id} in an expression. {did_you_mean(node.id, NAMES)}", REMEDY)
        return NAMES[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        items = [_compiled(item) for item in node.elts]
        return lambda record: [item(record) for item in items]
    if isinstance(node, ast.BoolOp):
        return _junction(isinstance(node.op, ast.And), [_compiled(value) for value in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        negated, operand = isinstance(node.op, ast.Not), _compiled(node.operand)
        return lambda record: not operand(record) if negated else _plus(operator.sub, 0, operand(record))
    return _compound(node)


def _compound(node: ast.expr) -> Value:
    if isinstance(node, ast.Compare):
        return _comparison([COMPARISONS.get(type(each)) for each in node.ops], [node.left, *node.comparators])
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        operation, left, right = ARITHMETIC[type(node.op)], _compiled(node.left), _compiled(node.right)
        return lambda record: _plus(operation, left(record), right(record))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "fields":
        key = _compiled(node.slice)
        return lambda record: record.fields[key(record)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, node.args)
    raise UsageError(f"{ast.unparse(node)!r} is not allowed in an expression.", REMEDY)


def _constant(value: Any) -> Value:
    return lambda record: value


def _junction(every: bool, values: list[Value]) -> Value:
    if every:
        return lambda record: all(value(record) for value in values)
    return lambda record: any(value(record) for value in values)


def _comparison(operations: list[Callable[[Any, Any], bool] | None], nodes: list[ast.expr]) -> Value:
    if None in operations:
        raise UsageError("`is` is not allowed in an expression.", REMEDY)
    values = [_compiled(node) for node in nodes]

    def compared(record: Record) -> bool:
        found = [value(record) for value in values]
        pairs = zip(operations, found[:-1], found[1:], strict=True)
        return all(operation(left, right) for operation, left, right in pairs if operation)

    return compared


def _call(name: str, arguments: list[ast.expr]) -> Value:
    if name not in FUNCTIONS:
        raise UsageError(f"Unknown function {name} in an expression. {did_you_mean(name, FUNCTIONS)}", REMEDY)
    count, function = FUNCTIONS[name]
    if len(arguments) != count:
        raise UsageError(f"{name}() takes {count} argument{'s' if count > 1 else ''}, got {len(arguments)}.", REMEDY)
    if name == "matches" and not isinstance(arguments[1], ast.Constant):
        raise UsageError("The pattern of matches() must be written out.", REMEDY)
    if name == "matches" and isinstance(arguments[1], ast.Constant):
        compiled_pattern(str(arguments[1].value))
    values: Mapping[int, Value] = dict(enumerate(_compiled(argument) for argument in arguments))
    return lambda record: function(*(value(record) for value in values.values()))


def compiled_pattern(text: str) -> re.Pattern[str]:
    """A regular expression. Raises UsageError where it is none."""
    try:
        return _pattern(text)
    except re.error as error:
        raise UsageError(
            f"{text!r} is no regular expression: {error}.", "Write \\ before signs that are meant."
        ) from None
