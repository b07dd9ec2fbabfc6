"""Help pages: one narrow column of flags with their values, what they mean beside it, nothing cut off."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from outcrop.cli.console import result_console

OPTIONS, COMMANDS = "Options", "Commands"
WIDTH = 100
LEFT = 36
"""Widest first column; a longer entry has its meaning on the next line."""

Entry = tuple[Text, Text]


class Command(TyperCommand):
    """A command with a help page of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; `formatter`, which would collect plain text, stays empty."""
        show_help(self, ctx, [])


class CommandGroup(TyperGroup):
    """A group of commands with a help page of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; `formatter`, which would collect plain text, stays empty."""
        show_help(self, ctx, [command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))])


def show_help(command: Any, context: Any, commands: Sequence[Any]) -> None:
    """Print the help page of a command, or of a group of `commands`."""
    console = result_console()
    parts: list[RenderableType] = [Text.assemble(("Usage: ", "bold"), context.get_usage().partition(": ")[2].strip())]
    parts += [Text("\n" + paragraph) for paragraph in _paragraphs(command.help)]
    for title, entries in _panels((each, _command_entry(each)) for each in commands if not each.hidden):
        parts += [Text(f"\n{title}", "bold"), _entries(entries)]
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    for title, entries in _panels((each, _parameter_entry(each, context)) for each in shown):
        parts += [Text(f"\n{title}", "bold"), _entries(entries)]
    if command.epilog:
        parts.append(Text(f"\n{command.epilog}"))
    _print(console, Group(*parts))


def _print(console: Console, page: RenderableType) -> None:
    console.print(page, width=min(WIDTH, console.width))


def _paragraphs(text: str | None) -> list[str]:
    """Paragraphs of a docstring, each on one line, to be wrapped to the terminal."""
    return [
        " ".join(paragraph.split()) for paragraph in inspect.cleandoc(text or "").split("\n\n") if paragraph.strip()
    ]


def _panels(items: Iterable[tuple[Any, Entry]]) -> Iterator[tuple[str, list[Entry]]]:
    """The entries by the panel their owner names, in the order of first appearance."""
    panels: dict[str, list[Entry]] = {}
    for owner, entry in items:
        default = COMMANDS if isinstance(owner, TyperCommand | TyperGroup) else OPTIONS
        panels.setdefault(getattr(owner, "rich_help_panel", None) or default, []).append(entry)
    yield from panels.items()


def _entries(entries: Sequence[Entry]) -> RenderableType:
    left = min(LEFT, max(name.cell_len for name, _ in entries))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=left, overflow="fold")
    table.add_column(overflow="fold")
    for name, meaning in entries:
        table.add_row(name, meaning)
    return Padding(table, (0, 0, 0, 2))


def _command_entry(command: Any) -> Entry:
    summary = _paragraphs(command.short_help or command.help)[:1]
    return Text(command.name, "bold cyan"), Text("".join(summary))


def _type_name(shown: str) -> str:
    """A type as help pages write values: "<int range>" and "<list[str]>" are a number and a text to people."""
    return "N" if "range" in shown else "TEXT" if "list[str]" in shown or shown == "<str>" else shown


def _parameter_entry(parameter: Any, context: Any) -> Entry:
    is_flag = getattr(parameter, "is_flag", False)
    flag = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
    flag = flag.replace("--", "--[no-]", 1) if getattr(parameter, "secondary_opts", None) else flag
    value = "" if is_flag else parameter.metavar or _type_name(parameter.display_type(context))
    name = Text.assemble((flag, "bold cyan"), " " if flag and value else "", (value, "cyan"))
    meaning, _, facts = (parameter.help or "").partition("\n")
    default = parameter.default
    notes = [
        facts,
        "required" if parameter.required else "",
        "" if default in (None, False, "", []) else f"default {default}",
    ]
    listed = " · ".join(note for note in notes if note)
    return name, Text.assemble(meaning, ("\n" if facts else " " if listed else ""), (listed, "dim"))
