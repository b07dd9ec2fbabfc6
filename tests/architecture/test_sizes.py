"""tools/sizes.py finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import sizes


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "outcrop" / "data").mkdir(parents=True)
    return tmp_path


def _write(repository: Path, body_lines: int, other_lines: int = 0) -> None:
    docstring = ['    """One.', "", '    Two."""']
    body = [f"    x{n} = {n}" for n in range(body_lines)]
    lines = ["def long():", *docstring, *body, *("# line" for _ in range(other_lines))]
    (repository / "outcrop" / "data" / "words.py").write_text("\n".join(lines) + "\n")


def test_small_code_passes_in_silence(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(repository, body_lines=40)
    assert sizes.main([str(repository)]) == 0
    printed = capsys.readouterr().out
    assert "44  outcrop/data" in printed
    assert "over" not in printed


def test_a_docstring_is_no_part_of_the_body(repository: Path) -> None:
    _write(repository, body_lines=41)
    assert sizes.long_bodies(repository) == [(41, "outcrop/data/words.py:1 long", False)]


def test_over_the_soft_limit_is_listed_and_passes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(repository, body_lines=80, other_lines=400)
    assert sizes.main([str(repository)]) == 0
    printed = capsys.readouterr().out
    assert "484  outcrop/data/words.py" in printed
    assert "80  outcrop/data/words.py:1 long" in printed
    assert "TOO LONG" not in printed


@pytest.mark.parametrize(("body_lines", "other_lines"), [(81, 0), (1, 600)])
def test_over_the_hard_limit_fails(repository: Path, body_lines: int, other_lines: int) -> None:
    _write(repository, body_lines, other_lines)
    assert sizes.main([str(repository)]) == 1
