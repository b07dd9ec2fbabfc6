"""The `outcrop` command: its verbs, and how every one of them ends."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.main import get_group

from outcrop.cli import models
from outcrop.cli.batch import batch
from outcrop.cli.console import Output
from outcrop.cli.demo import demo
from outcrop.cli.distill import distill
from outcrop.cli.errors import report, report_bug, report_interruption
from outcrop.cli.evaluate import evaluate
from outcrop.cli.generate import generate
from outcrop.cli.help import Command, CommandGroup
from outcrop.cli.pretrain import pretrain
from outcrop.cli.serve import serve
from outcrop.cli.tune import tune
from outcrop.cli.version import show_versions, versions
from outcrop.cli.workflows import missing_dependency
from outcrop.core.catalog import Catalog
from outcrop.core.errors import JobFailed, OutcropError, UsageError, did_you_mean
from outcrop.core.invocation import command_line

GROUPS: Catalog[typer.Typer] = Catalog(
    "group of commands",
    {"data": "outcrop.cli.data:app", "jobs": "outcrop.cli.jobs:app", "keys": "outcrop.cli.keys:app"},
)
"""Commands whose files need more than help may load."""

ORDER = (
    "demo", "data", "tune", "pretrain", "distill", "evaluate", "generate", "batch", "models", "jobs", "serve", "keys",
    "version",
)  # fmt: skip
"""The verbs, as help lists them."""

MACHINE_FAULTS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system refuses for reasons outside of this program: rights, read-only and full disks, quotas."""

RUST_FAULT = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers, which are written in Rust, tell such a refusal in an exception of their own."""


class Interrupted(Exception):
    """Ctrl-C or a signal to terminate, and what the verb that it ended said about what is kept."""

    def __init__(self, end: KeyboardInterrupt) -> None:
        super().__init__()
        self.is_signal = isinstance(end, Terminated)
        self.kept = " ".join(getattr(end, "__notes__", ()))


class Terminated(KeyboardInterrupt):
    """SIGTERM, which schedulers send: it ends a verb as Ctrl-C does."""


class LazyGroup(CommandGroup):
    """A group whose commands are imported when it is used."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        self._load()
        return super().list_commands(ctx)

    def _load(self) -> None:
        if not self.commands:
            try:
                group = GROUPS.load(str(self.name))
            except ModuleNotFoundError as error:
                raise missing_dependency(error, f"outcrop {self.name}") from error
            self.commands.update(get_group(group).commands)


class Root(CommandGroup):
    """The command itself: every way a verb can end becomes a message and an exit code here."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs, in the order of help."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that args begin with. Raises UsageError for an unknown one, with a suggestion."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise UsageError(f"Unknown command: {args[0]}.", did_you_mean(args[0], self.commands))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; Ctrl-C and SIGTERM end it as Interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as end:
            raise Interrupted(end) from None

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:
        """Run the command line and exit with its code."""
        given = list(sys.argv[1:] if args is None else args)
        sys.exit(self._run(given, *others, **options | {"standalone_mode": False}))

    def _run(self, args: list[str], *others: Any, **options: Any) -> int:
        output = _wanted_output(args)
        try:
            with command_line(["outcrop", *args]):
                code = super().main(args, *others, **options)
        except OutcropError as error:
            return report(error, output)
        except typer.TyperException as error:
            return report(_usage_error(error, args), output) if error.format_message() else 2
        except Interrupted as error:
            return report_interruption(error.kept, output, terminated=error.is_signal)
        except typer.Abort as error:
            return report_interruption("", output, terminated=isinstance(error.__cause__, Terminated))
        except Exception as error:  # noqa: BLE001  the last stop: whatever arrives here is shown
            fault = _machine_fault(error)
            return report(fault, output) if fault else report_bug(error, output)
        return code if isinstance(code, int) else 0


def _wanted_output(args: Sequence[str]) -> Output:
    """Whether --output json is among the arguments: also where they are too wrong to be parsed."""
    return "json" if "--output=json" in args or ("--output", "json") in pairwise(args) else "text"


def _usage_error(error: typer.TyperException, args: Sequence[str]) -> UsageError:
    """A complaint of the parser as one of ours: with the nearest option, all that is missing, and the way to help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else " ".join(["outcrop", *(arg for arg in args[:1] if arg in ORDER)])
    near = list(getattr(error, "possibilities", None) or ())
    remedy = f"Did you mean: {' or '.join(near)}? See: {command} --help" if near else f"See: {command} --help"
    message = error.message if near else error.format_message().replace("Value error, ", "")
    if context and message.startswith("Missing option"):
        given = {arg.partition("=")[0] for arg in args}
        required = [parameter.opts for parameter in context.command.params if parameter.required]
        message = f"Missing: {', '.join(options[0] for options in required if not given & set(options))}"
    return UsageError(message if message.endswith((".", "?")) else f"{message}.", remedy)


def _machine_fault(error: Exception) -> OutcropError | None:
    """A refusal of the system as an error of ours, or None where it is something else."""
    told = None if isinstance(error, OSError) else RUST_FAULT.search(str(error))
    number = int(told[1]) if told else getattr(error, "errno", None)
    if number not in MACHINE_FAULTS:
        return None
    remedy = " ".join(["Check the rights and the free space there.", *getattr(error, "__notes__", ())])
    return JobFailed(f"{os.strerror(number)}.", remedy, str(getattr(error, "filename", None) or ""))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"outcrop {versions()['outcrop']}")
        raise typer.Exit()


app = typer.Typer(
    name="outcrop", cls=Root, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    epilog="Begin with: outcrop demo",
)  # fmt: skip


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
]


@app.callback()
def root(
    show_version: VersionOption = False,
) -> None:
    """Bedrock, out in the open: tune, measure and keep custom models on your own machine."""


LOOP, USE, PROGRAM = "The loop", "Models", "This program"

app.command(cls=Command, rich_help_panel=LOOP)(demo)
app.command(cls=Command, rich_help_panel=LOOP)(tune)
app.command(cls=Command, rich_help_panel=LOOP)(distill)
app.command(cls=Command, rich_help_panel=LOOP)(pretrain)
app.command(cls=Command, rich_help_panel=LOOP)(evaluate)
app.command(cls=Command, rich_help_panel=USE)(generate)
app.command(cls=Command, rich_help_panel=USE)(batch)
app.command(cls=Command, rich_help_panel=USE)(serve)
app.command("version", cls=Command, rich_help_panel=PROGRAM)(show_versions)
app.add_typer(
    typer.Typer(cls=LazyGroup, no_args_is_help=True), name="data", rich_help_panel=LOOP,
    help="Check, prepare, split and look at records before anything is trained on them.",
)  # fmt: skip
app.add_typer(
    models.app, name="models", rich_help_panel=USE, help="The base models at hand, and what is known of a model."
)
app.add_typer(
    typer.Typer(cls=LazyGroup, no_args_is_help=True), name="jobs", rich_help_panel=USE,
    help="What was queued with --detach, or recorded: list, follow, stop and resume it.",
)  # fmt: skip
app.add_typer(
    typer.Typer(cls=LazyGroup, no_args_is_help=True), name="keys", rich_help_panel=USE,
    help="Keys of the server, and the projects that they belong to.",
)  # fmt: skip


def main() -> None:
    """The entry point of the installed command."""
    signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="outcrop")


def _terminate(number: int, frame: object) -> None:
    raise Terminated
