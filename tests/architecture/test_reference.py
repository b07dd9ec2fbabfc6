"""Derived pages are what the code says, and miss nothing."""

from __future__ import annotations

import re

import pytest

from outcrop.core.errors import OutcropError
from outcrop.training.spec import TrainingSpec
from tests.architecture.package import FILES, ROOT
from tools import make_reference


@pytest.mark.parametrize("page", make_reference.PAGES)
def test_page_is_fresh(page: str) -> None:
    fresh = make_reference.PAGES[page](ROOT)
    assert (ROOT / page).read_text() == fresh, f"{page} is stale: run `make reference`"


def test_making_a_page_twice_changes_nothing(tmp_path) -> None:
    (tmp_path / "outcrop").mkdir()
    (tmp_path / "outcrop" / "__init__.py").write_text('"""A package. With more to say."""\n')
    (tmp_path / "README.md").write_text(f"# T\n{make_reference.MAP_START}\nold\n{make_reference.MAP_END}\nrest\n")
    once = make_reference.readme(tmp_path)
    assert "outcrop/  A package\n" in once
    assert "old" not in once
    assert once.endswith("\nrest\n")
    (tmp_path / "README.md").write_text(once)
    assert make_reference.readme(tmp_path) == once


def test_map_refuses_a_module_without_docstring(tmp_path) -> None:
    (tmp_path / "outcrop").mkdir()
    (tmp_path / "outcrop" / "__init__.py").write_text("")
    with pytest.raises(SystemExit, match=r"__init__\.py: no docstring"):
        make_reference.package_map(tmp_path)


def test_map_and_tree_name_the_same_files() -> None:
    text = (ROOT / "README.md").read_text()
    block = text.split(make_reference.MAP_START)[1].split(make_reference.MAP_END)[0]
    mapped, folders = set(), []
    for line in block.strip().strip("`").removeprefix("text").strip("\n").splitlines():
        indent, name, comment = re.fullmatch(r"( *)(\S+) +(\S.*)", line).groups()
        folders[len(indent) // 2 :] = [name]
        assert comment
        mapped.add("".join(folders))
    modules = {str(path.relative_to(ROOT)) for path in FILES if path.name != "__init__.py"}
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in FILES if path.name == "__init__.py"}
    data = {entry for entry in mapped - packages if entry.endswith("/")}
    assert mapped - data == modules | packages
    assert all((ROOT / folder).is_dir() for folder in data)


@pytest.mark.parametrize("name", TrainingSpec.model_fields)
def test_every_hyperparameter_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "hyperparameters.md").read_text()
    described = TrainingSpec.model_fields[name].description
    assert described
    assert described[0] == described[0].lstrip()
    assert re.search(rf"^\| `{name}` \|.*{re.escape(described)}", page.replace("\\|", "|"), re.MULTILINE)


def test_every_bound_of_a_hyperparameter_is_shown() -> None:
    page = make_reference.hyperparameters(ROOT)
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "≥ 1, ≤ 100" in rows["epochs"]
    assert "> 0, ≤ 1" in rows["learning_rate"]
    assert "| `learning_rate` |  |" in rows["learning_rate"]
    assert "| `batch_size` | `32` | whole number (rows), ≥ 1," in rows["batch_size"]
    assert "`linear`, `cosine`, `constant`" in rows["schedule"]
    assert "`epochCount`" in rows["epochs"]


def test_every_error_code_is_on_the_page() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    kinds = [OutcropError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert f"`{kind.code}`" in page
    assert len(kinds) > 5
