"""`outcrop data anonymise` and `restore`: results on stdout, values nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli.app import app


def outcrop(*args: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, args)], prog_name="outcrop")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "I'm Anna Kowalska", "completion": "Mail a.k@corp.example, Anna."}) + "\n")
    return path


def test_a_report_needs_no_output_and_shows_no_value(data: Path) -> None:
    done = outcrop("anonymise", data, "--mode", "report", "--types", "name, email")
    assert done.exit_code == 0
    assert "completion: characters" in done.stdout
    assert "Anna" not in done.output
    assert "corp.example" not in done.output


def test_mask_vault_and_back(data: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef")
    out, vault, back = tmp_path / "out" / "rows.jsonl", tmp_path / "safe" / "vault", tmp_path / "back.jsonl"
    masked = outcrop("anonymise", data, "--to", out, "--key-file", key, "--vault", vault, "--output", "json")
    assert json.loads(masked.stdout)["found"]["name"] == {"prompts": 1, "answers": 1}
    assert json.loads(outcrop("restore", out, "--vault", vault, "--to", back, "--output", "json").stdout)["rows"] == 1
    assert json.loads(back.read_text()) == json.loads(data.read_text())


def test_mistakes_end_with_2(data: Path, tmp_path: Path) -> None:
    wrong = outcrop("anonymise", data, "--mode", "hide", "--to", tmp_path / "out.jsonl")
    assert wrong.exit_code == 2
    assert "mask" in wrong.output
    unknown = outcrop("anonymise", data, "--mode", "report", "--types", "emial")
    assert unknown.exit_code == 2
    assert "Did you mean: email?" in unknown.output
    missing = outcrop("anonymise", data, "--mode", "report", "--model", tmp_path / "no-model")
    assert missing.exit_code == 2
    assert "holds no model" in missing.output
