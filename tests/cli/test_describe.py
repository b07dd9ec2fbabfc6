"""`outcrop data compare`, `bias` and `card` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli.app import app
from outcrop.data.records import Pair
from tests.data.corpus import write_jsonl
from tests.data.test_bias import applications


def outcrop(*args: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, args)], prog_name="outcrop")


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    made = [row for row in applications(120, 0.3, 0.8) if isinstance(row, Pair)]
    values = [{"prompt": row.prompt, "completion": row.completion, **row.fields} for row in made]
    return write_jsonl(tmp_path / "loans.jsonl", values)


def test_compare_prints_what_differs(loans: Path) -> None:
    result = outcrop("compare", loans, "--production", loans)
    assert result.exit_code == 0
    assert "divergence, bits" in result.stdout
    assert "No classifier of ours tells production from training" in result.stdout
    fields = json.loads(outcrop("compare", loans, "--production", loans, "--output", "json").stdout)
    assert fields["training_rows"] == 120
    refused = outcrop("compare", loans)
    assert refused.exit_code == 2
    assert "--production FILE" in refused.stderr


def test_bias_prints_four_tables(loans: Path, tmp_path: Path) -> None:
    result = outcrop("bias", loans, "--by", "town", "--to", tmp_path / "out")
    assert result.exit_code == 0
    for title in ("Selection", "Sampling", "Labels", "History"):
        assert f"{title}: " in result.stdout
    assert "counterfactual rows: 120" in result.stdout
    assert (tmp_path / "out" / "swapped.jsonl").is_file()
    refused = outcrop("bias", loans, "--by", "city")
    assert refused.exit_code == 2
    assert "Fields of these rows: town" in refused.stderr


def test_card_is_written(loans: Path, tmp_path: Path) -> None:
    to = tmp_path / "card"
    result = outcrop("card", loans, "--to", to, "--licence", "CC0", "--output", "json")
    provenance = json.loads(result.stdout)["provenance"]
    assert (provenance["name"], provenance["licences"]) == ("loans", ["CC0"])
    assert 'license: ["CC0"]' in (to / "card.md").read_text()
    assert outcrop("card", loans, "--to", to).exit_code == 2
    assert outcrop("card", loans, "--to", to, "--overwrite").exit_code == 0
