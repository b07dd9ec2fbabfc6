"""Every module imports, is documented, and keeps to the rules that import-linter and ruff cannot see."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import outcrop
from outcrop.core.catalog import Catalog
from tests.architecture.package import FILES, MODULES, PACKAGE, load, module_name, parse

PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*|([A-Z][a-z]+)+")
"""Names of entries: our own, or those of an API's operations."""


@pytest.mark.parametrize("name", MODULES)
def test_module_imports(name: str) -> None:
    assert load(name).__name__ == name


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name: str) -> None:
    missing = [what for what, documentation in _public(load(name)) if not documentation]
    assert not missing, f"{name}: without a docstring: {', '.join(missing)}"


def _public(module: ModuleType) -> Iterator[tuple[str, str | None]]:
    """What a module offers and its documentation: itself, functions, classes and their methods."""
    yield "the module", module.__doc__
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield name, thing.__doc__
        elif inspect.isclass(thing):
            generated = (thing.__doc__ or "").startswith(f"{name}(")    # by dataclass and NamedTuple
            yield name, None if generated else vars(thing).get("__doc__")
            for method, definition in vars(thing).items():
                is_field = getattr(definition, "__name__", method) != method    # with a function as its default
                if not method.startswith("_") and inspect.isroutine(definition) and not is_field:
                    yield f"{name}.{method}", inspect.getdoc(getattr(thing, method))    # an override inherits it


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    hidden = [
        f"{path}:{function.lineno}: {function.name} imports {target}; a catalog reaches what is heavy"
        for function in ast.walk(parse(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for target in _imports(function)
    ]
    assert not hidden, "\n".join(hidden)


def _imports(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "outcrop":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "outcrop")


@pytest.mark.parametrize("verb", outcrop.__all__)
def test_verb_of_the_package_exists_and_is_documented(verb: str) -> None:
    function = getattr(outcrop, verb)
    assert function.__name__ == verb
    assert function.__doc__
    assert verb in (outcrop.__doc__ or "")


def test_no_name_is_a_dumping_ground() -> None:
    names = {part for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def _catalogs() -> list[tuple[str, str, Catalog]]:
    found = {}
    for name in MODULES:
        for attribute, thing in vars(load(name)).items():
            if isinstance(thing, Catalog):
                found[id(thing)] = (name, attribute, thing)
    return list(found.values())


def test_every_catalog_entry_loads() -> None:
    catalogs = _catalogs()
    assert catalogs, "no catalog found: this test looks in the wrong place"
    for module, attribute, catalog in catalogs:
        names = list(catalog)
        assert names, f"{module}.{attribute} is empty"
        for name in names:
            assert catalog.load(name) is not None, f"{module}.{attribute}[{name!r}]"
            assert PLAIN.fullmatch(name), f"{module}.{attribute}: {name!r} is no plain name"
