"""`outcrop data steps`: the steps of a preparation, their parameters, and why they drop rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import print_json, result_console
from outcrop.cli.options import OutputOption
from outcrop.core.spec import bounds_of, extra_of, kind_of
from outcrop.data.steps.catalog import DEFAULT_CHAIN, STEPS
from outcrop.data.steps.step import Step

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME…", help=f"Of {', '.join(STEPS)}. Default: all.")
]


def show_steps(names: NamesArgument = None, *, output: OutputOption = "text") -> None:
    """Show the steps of `outcrop data prepare` in their order: parameters, reasons to drop a row, what is counted.

    A parameter is set by --set STEP.NAME=VALUE, or in a recipe below [STEP].
    """
    steps = {name: STEPS.load(name) for name in names or STEPS}
    if output == "json":
        print_json({"default": list(DEFAULT_CHAIN), "steps": {name: facts(step) for name, step in steps.items()}})
        return
    result_console().print(Group(*(part for name, step in steps.items() for part in _shown(name, step))))


def facts(step: type[Step[Any]]) -> dict[str, Any]:
    """What a step is told and what it tells, JSON-ready."""
    parameters = [
        {"name": name, "default": field.default, "allowed": allowed(field), "meaning": field.description,
         "unit": extra_of(field, "unit")}
        for name, field in step.spec_type.model_fields.items()
    ]  # fmt: skip
    return {"meaning": step.__doc__, "parameters": parameters, "drops": dict(step.reasons), "counts": dict(step.notes)}


def allowed(field: FieldInfo) -> str:
    """The values of a parameter, in words."""
    kind = kind_of(field)
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is dict:
        return "NAME=NUMBER, …"
    words = {bool: "true, false", int: "whole number", float: "number"}
    named = "list of texts" if get_origin(kind) is tuple else words.get(kind, "text")
    return ", ".join([named, *bounds_of(field)])


def _shown(name: str, step: type[Step[Any]]) -> Iterator[RenderableType]:
    found = facts(step)
    mark = "  in the default chain" if name in DEFAULT_CHAIN else ""
    yield Text.assemble((name, "bold cyan"), (mark, "dim"))
    yield Text("  " + str(found["meaning"]).partition("\n")[0])
    yield from _table((f"{name}.{each['name']}", _literal(each["default"]), f"{each['meaning']} ({each['allowed']})")
                      for each in found["parameters"])  # fmt: skip
    for title, codes in (("drops", found["drops"]), ("counts", found["counts"])):
        if codes:
            yield Text(f"  {title}", "bold")
            yield from _table(codes.items())
    yield Text()


def _table(rows: Any) -> Iterator[RenderableType]:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=2)
    cells: Sequence[Sequence[str]] = [list(row) for row in rows]
    for number in range(len(cells[0]) if cells else 0):
        table.add_column(style="cyan" if number == 0 else "dim" if number < len(cells[0]) - 1 else "")
    for row in cells:
        table.add_row("", *row)
    yield table


def _literal(value: object) -> str:
    if value is None or value in ((), {}, ""):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
