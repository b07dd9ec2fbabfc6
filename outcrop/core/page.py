"""Pages that need nothing else: one style sheet, templates in which every text is escaped, no script."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A plot in two widths, of which the style sheet shows one. note: what a reader must know to read it."""

    title: str
    wide: Markup
    narrow: Markup
    note: str = ""


def environment(package: str) -> Environment:
    """Templates of a package, which may import the macros of page.html.jinja. package: "outcrop.evaluation"."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("outcrop.core", ".")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup((files("outcrop.core") / "page.css").read_text(encoding="utf-8"))
