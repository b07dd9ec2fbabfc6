"""What the documents say can be typed: commands parse, calls fit their signatures, links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

import outcrop
from outcrop.cli.app import app
from outcrop.data.formats.catalog import CONTAINERS, SHAPES
from outcrop.data.reading import load
from outcrop.training.stopping import EarlyStopping
from tests.architecture.package import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "decisions").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def _commands(page: Path) -> Iterator[list[str]]:
    """Command lines of `outcrop` in shell blocks, split into words."""
    for block in _blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["outcrop"]:
                yield words[1:]


COMMANDS = [words for page in PAGES for words in _commands(page)]
CALLS = [
    call
    for page in PAGES
    for block in _blocks(page, "python")
    for call in ast.walk(ast.parse(block))
    if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("outcrop.")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_of_a_document_parses(words: list[str]) -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.list_commands(context), f"no command {name}"
        command = command.get_command(context, name)
    command.make_context(name, list(words))  # raises for an unknown flag, a missing one, a wrong value


@pytest.mark.parametrize("call", CALLS, ids=ast.unparse)
def test_call_of_a_document_fits_its_function(call: ast.Call) -> None:
    function = getattr(outcrop, ast.unparse(call.func).removeprefix("outcrop."))
    keywords = {keyword.arg: ... for keyword in call.keywords if keyword.arg}
    inspect.signature(function).bind(*(... for _ in call.args), **keywords)


def test_the_readme_shows_commands_and_calls() -> None:
    assert {words[0] for words in _commands(ROOT / "README.md")} >= {"data", "tune", "evaluate", "pretrain", "generate"}
    assert CALLS


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: no {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


FORMATS = (ROOT / "docs" / "data-formats.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", FORMATS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_of_a_format_is_recognised(example: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(example)
    before = FORMATS.partition(example)[0]
    name = max(SHAPES, key=lambda each: before.rfind(f"`{each}`"))
    assert load(file) == load(file, format=name)


def test_every_format_has_its_example() -> None:
    assert all(f"\n`{name}`" in FORMATS for name in SHAPES)
    assert len(EXAMPLES) == len(list(SHAPES))
    for suffix in CONTAINERS:
        assert f"`.{suffix}`" in FORMATS


def test_the_example_of_early_stopping_is_what_happens() -> None:
    page = (ROOT / "docs" / "early-stopping.md").read_text()
    threshold, patience = re.search(r"threshold of ([\d.]+) and a patience of (\d+)", page).groups()
    stopping = EarlyStopping(float(threshold), int(patience), higher_is_better=False)
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| (\d+) \| (yes|no) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) > 3
    for evaluation, loss, best, improved, waited in rows:
        assert not stopping.exhausted
        stopping.update(int(evaluation), float(loss))
        assert (stopping.best_step, stopping.waited) == (int(best), int(waited))
        assert (improved == "yes") == (stopping.waited == 0)
    assert stopping.exhausted
    last, kept = re.search(r"stops after evaluation (\d+) and keeps the weights of evaluation (\d+)", page).groups()
    assert (int(last), int(kept)) == (int(rows[-1][0]), stopping.best_step)
