"""`outcrop keys`: keys of the server, and the projects that they belong to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from outcrop.cli.console import print_json, result_console
from outcrop.cli.help import Command, CommandGroup
from outcrop.cli.options import OutputOption
from outcrop.cli.workflows import load

ProjectOption = Annotated[
    str, typer.Option("--project", metavar="NAME", help="The project; it is made if there is none of this name.")
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The id that outcrop keys list shows.")]

app = typer.Typer(cls=CommandGroup, no_args_is_help=True)


@app.command("create", cls=Command)
def create(*, project: ProjectOption = "default", output: OutputOption = "text") -> None:
    """Make an access key and a bearer key, and show them once. Projects see nothing of each other."""
    made = load("create-keys")(project)
    if output == "json":
        print_json(made)
        return
    console = result_console()
    console.print(f"# project {made['project']}, account {made['account']}: these keys are shown this once")
    for name, field in (
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
        ("AWS_BEARER_TOKEN_BEDROCK", "bearer"),
    ):
        console.print(f"export {name}={made[field]}", soft_wrap=True)


@app.command("list", cls=Command)
def list_keys(*, output: OutputOption = "text") -> None:
    """List the keys, without their secrets."""
    found = load("list-keys")()
    if output == "json":
        print_json({"keys": found})
        return
    table = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("key", "kind", "project", "account", "revoked"):
        table.add_column(name, no_wrap=True)
    for key in found:
        table.add_row(key["id"], key["kind"], key["project"], key["account"], "yes" if key["revoked"] else "")
    result_console().print(table)


@app.command("revoke", cls=Command)
def revoke(key: KeyArgument, *, output: OutputOption = "text") -> None:
    """End a key for ever. A running server notices within seconds."""
    load("revoke-key")(key)
    if output == "json":
        print_json({"revoked": key})
    else:
        result_console().print(f"Key {key} is revoked.")
