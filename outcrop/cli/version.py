"""`outcrop version`: what is installed, for bug reports."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from outcrop.cli.console import print_json
from outcrop.cli.options import OutputOption

PACKAGES = ("outcrop", "torch", "transformers", "tokenizers", "numpy")


def versions() -> dict[str, str | None]:
    """Version of this package, of Python, of the system and of the libraries that results depend on; None: absent."""
    here = {"python": platform.python_version(), "system": platform.platform()}
    return {name: _installed(name) for name in PACKAGES} | here


def show_versions(*, output: OutputOption = "text") -> None:
    """Show the versions of Outcrop and of what it computes with."""
    found = versions()
    if output == "json":
        print_json(found)
        return
    for name, number in found.items():
        print(f"{name:<14}{number or 'not installed'}")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
