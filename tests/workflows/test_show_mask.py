"""`outcrop data show --mask`, from the command line to the real renderer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli.app import app
from outcrop.models.loading import load_model
from tests.models.folders import write_model

PAIRS = [{"text": "where is it?", "label": "card_arrival"}, {"text": "too high", "label": "fee"}]
TALK = [
    {
        "turns": [
            {"speaker": "USER", "utterance": "hi"},
            {"speaker": "SYSTEM", "utterance": "hello"},
            {"speaker": "USER", "utterance": "bye"},
            {"speaker": "SYSTEM", "utterance": "so long"},
        ]
    }
]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(write_model(tmp_path / "base", max_position_embeddings=40))


def rows_file(tmp_path: Path, rows: list[dict[str, object]]) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def show(*args: str) -> Result:
    return CliRunner().invoke(app, ["data", "show", *args], prog_name="outcrop")


def test_of_pairs_the_completion_and_its_end_are_marked(tmp_path: Path, base: str) -> None:
    file = rows_file(tmp_path, PAIRS)
    done = show(
        file, "--mask", "--base", base, "--map", "prompt=text,completion=label", "--template", "Q: {prompt}\\nIntent:"
    )
    assert done.exit_code == 0, done.stderr
    assert "Q: where is it?↵\nIntent:⟦ card_arrival</s>⟧\n" in done.stdout
    assert "Q: too high↵\nIntent:⟦ fee</s>⟧\n" in done.stdout
    assert f"{file}:1 · " in done.stdout


def test_of_conversations_each_answer_and_its_end_are_marked(tmp_path: Path, base: str) -> None:
    file = rows_file(tmp_path, TALK)
    done = show(file, "--mask", "--base", base, "--map", "messages=turns", "--roles", "user=USER,assistant=SYSTEM")
    assert done.exit_code == 0, done.stderr
    assert "User: hi↵\nAssistant:⟦ hello</s>⟧↵\nUser: bye↵\nAssistant:⟦ so long</s>⟧\n" in done.stdout
    assert "1 of these rows exceed the model's context of 40 tokens" in done.stderr


def test_json_holds_the_very_tokens_of_training(tmp_path: Path, base: str) -> None:
    file = rows_file(tmp_path, PAIRS)
    arguments = ("--mask", "--base", base, "--map", "prompt=text,completion=label", "--rows", "1", "--output", "json")
    found = json.loads(show(file, *arguments).stdout)
    [row] = found["rows"]
    tokenizer = load_model(base).tokenizer
    assert row["origin"] == f"{file}:1"
    assert tokenizer.decode([token for token, _, _ in row["tokens"]]) == "where is it? card_arrival</s>"
    assert "".join(text for _, text, weight in row["tokens"] if weight) == " card_arrival</s>"
    assert found["context"] == 40
    assert found["problems"]["errors"] == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--mask",), "--mask needs --base"),
        (("--base", "x"), "--base needs --mask"),
        (("--mask", "--base", "/nowhere/at-all"), "There is no model folder /nowhere/at-all"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    done = show(rows_file(tmp_path, PAIRS), *args)
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_row_that_cannot_be_trained_is_named(tmp_path: Path, base: str) -> None:
    file = rows_file(tmp_path, [{"prompt": "a", "completion": "b"}, {"prompt": "x</s>", "completion": "y"}])
    done = show(file, "--mask", "--base", base)
    assert done.exit_code == 2
    assert "The special token '</s>' stands in the content" in done.stderr
    assert f"{file}:2" in done.stderr


def test_files_without_usable_rows_say_why(tmp_path: Path, base: str) -> None:
    done = show(rows_file(tmp_path, [{"prompt": "a", "completion": ""}]), "--mask", "--base", base)
    assert done.exit_code == 2
    assert "empty-content" in done.stderr


def test_defects_beside_usable_rows_are_told(tmp_path: Path, base: str) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "a", "completion": "b"}]
    done = show(rows_file(tmp_path, rows), "--mask", "--base", base)
    assert done.exit_code == 0
    assert "a⟦ b</s>⟧" in done.stdout
    assert "empty-content" in done.stderr
