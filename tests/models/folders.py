"""Model folders small enough to write in every test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.tiny import tiny_model, tiny_tokenizer


def write_model(folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """A plain Hugging Face folder with the tiny model and its tokenizer."""
    tiny_model(seed, **overrides).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def edit(file: Path, **fields: Any) -> None:
    """Change fields of a JSON object; None deletes one. The file is made if it is not there."""
    value = json.loads(file.read_text()) if file.exists() else {}
    value |= fields
    file.write_text(json.dumps({name: given for name, given in value.items() if given is not None}))
