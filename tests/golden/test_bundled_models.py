"""The bundled models are the files that were made: their digests and greedy answers are written down.

After making them anew: python -m tests.golden.test_bundled_models
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.core.files import write_json
from outcrop.data.records import Message
from outcrop.models.folder import BUNDLED, bundled_names, find_model
from outcrop.workflows.generate import generate

GOLDEN = Path(__file__).with_name("bundled_models.json")
PROMPTS = ("Once upon a time there was", "The captain looked at the sea and")
QUESTION = "Label the home-assistant command with scenario_intent.\n\nwake me up at seven tomorrow"


def facts(name: str) -> dict[str, object]:
    """Digest, size, and greedy answers."""
    model = f"bundled:{name}"
    chat = generate(model, [Message("user", QUESTION)], max_new_tokens=16).text
    return {
        "digest": find_model(model).digest(),
        "parameters": find_model(model).parameters,
        "greedy": {prompt: generate(model, prompt, max_new_tokens=16).text for prompt in PROMPTS} | {QUESTION: chat},
    }


@pytest.mark.parametrize("name", bundled_names())
def test_files_and_greedy_answers_are_as_written_down(name: str) -> None:
    assert facts(name) == json.loads(GOLDEN.read_text("utf-8"))[name]


def test_every_bundled_model_has_a_card_and_all_fit_into_the_repository() -> None:
    assert bundled_names() == sorted(json.loads(GOLDEN.read_text("utf-8")))
    for name in bundled_names():
        card = (BUNDLED / name / "README.md").read_text("utf-8")
        assert "licence" in card.lower()
        assert "## Limits" in card
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= 70e6


if __name__ == "__main__":
    write_json(GOLDEN, {name: facts(name) for name in bundled_names()})
