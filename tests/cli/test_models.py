"""`outcrop models`: what is bundled, and what is known of a folder."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from outcrop.models import folder


def write_model(path: Path, card: dict | None = None) -> Path:
    """A folder as `find_model` wants it, with 2 × 3 + 4 weights in its header."""
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    tensors = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [24, 40]},
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(40))
    if card is not None:
        (path / folder.CARD).write_text(json.dumps(card))
    return path


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path / "gneiss", {"licence": "Apache-2.0", "kind": "base"})
    monkeypatch.setattr(folder, "BUNDLED", tmp_path)
    return tmp_path


def test_list(command, bundled: Path) -> None:
    header, row = command("models", "list").stdout.splitlines()
    assert header.split() == ["model", "parameters", "size", "licence"]
    assert row.split() == ["bundled:gneiss", "10", "0.0", "MB", "Apache-2.0"]


def test_list_for_programs(command, bundled: Path) -> None:
    [model] = json.loads(command("models", "list", "--output", "json").stdout)["models"]
    assert model["name"] == "bundled:gneiss"
    assert model["parameters"] == 10
    assert model["bytes"] > 40
    assert model["outcrop.json"]["licence"] == "Apache-2.0"


def test_list_of_nothing(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "BUNDLED", tmp_path)
    assert "No base model is bundled" in command("models", "list").stdout


@pytest.mark.parametrize("name", ["bundled:gneiss", None], ids=["bundled", "folder"])
def test_show(command, bundled: Path, name: str | None) -> None:
    name = name or str(bundled / "gneiss")
    text = command("models", "show", name)
    assert text.exit_code == 0
    assert "Apache-2.0" in text.stdout
    found = json.loads(command("models", "show", name, "--output", "json").stdout)
    assert found["outcrop.json"] == {"licence": "Apache-2.0", "kind": "base"}


def test_show_of_a_foreign_model(command, tmp_path: Path) -> None:
    done = command("models", "show", str(write_model(tmp_path / "foreign")))
    assert done.exit_code == 0
    assert "not made by Outcrop" in done.stdout


def test_show_of_nothing(command, tmp_path: Path) -> None:
    done = command("models", "show", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr
