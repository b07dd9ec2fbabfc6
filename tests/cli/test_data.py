"""`outcrop data`: check, split, show; results on stdout, exit code 2 for errors in the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli.app import app
from outcrop.data.steps.catalog import STEPS
from tests.data.corpus import prompts, rows, write_jsonl

MAP = ("--map", "prompt=text,completion=label")


def outcrop(*args: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, args)], prog_name="outcrop")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    values = [{"text": text, "label": ("yes", "no")[row % 2]} for row, text in enumerate(prompts())]
    return write_jsonl(tmp_path / "rows.jsonl", values)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "broken.jsonl", [*rows("alpaca"), {"instruction": "a\x1b[2Jb", "output": None}])


def test_clean_data_ends_with_0(labelled: Path) -> None:
    done = outcrop("check", labelled, *MAP)
    assert done.exit_code == 0
    assert "files: 1, usable rows: 64" in done.stdout
    assert "labels: no 32, yes 32" in done.stdout
    assert "0 errors" in done.stdout


def test_steps_are_shown_with_their_parameters() -> None:
    done = outcrop("steps", "dedupe", "split")
    assert done.exit_code == 0
    for word in ("dedupe.near", "0.75", "exact-duplicate", "split.time_by", "in the default chain"):
        assert word in done.stdout
    assert "clean" not in done.stdout
    listed = json.loads(outcrop("steps", "--output", "json").stdout)
    assert list(listed["steps"]) == list(STEPS)
    assert outcrop("steps", "dedup").exit_code == 2


def test_errors_end_with_2_and_name_the_line(broken: Path) -> None:
    done = outcrop("check", broken)
    assert done.exit_code == 2
    assert f"{broken}:65: output: null instead of a text" in done.stdout
    assert "\x1b[2J" not in done.stdout
    assert "Traceback" not in done.output


def test_json_is_one_object_on_stdout(broken: Path, labelled: Path) -> None:
    done = outcrop("check", broken, "--output", "json")
    report = json.loads(done.stdout)
    assert done.exit_code == 2
    assert (report["ok"], report["rows"]) == (False, 64)
    assert report["problems"][0]["examples"][0]["line"] == 65
    split = json.loads(outcrop("split", labelled, *MAP, "--to", labelled.parent / "out", "--output", "json").stdout)
    assert split["counts"] == {"train": 52, "validation": 6, "test": 6}
    shown = json.loads(outcrop("show", labelled, *MAP, "--rows", "2", "--output", "json").stdout)
    assert [record["line"] for record in shown["records"]] == [1, 2]


def test_labels_and_lengths_can_be_held_to(labelled: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("yes\n\nmaybe\n")
    done = outcrop("check", labelled, *MAP, "--labels", labels, "--max-chars", "20", "--output", "json")
    assert {group["code"]: group["count"] for group in json.loads(done.stdout)["problems"]} == {
        "completion-cut": 64, "label-outside-set": 32,
    }  # fmt: skip
    assert outcrop("check", labelled, *MAP, "--labels", tmp_path / "none.txt").exit_code == 2


def test_another_file_can_be_compared(labelled: Path) -> None:
    done = outcrop("check", labelled, *MAP, "--against", labelled)
    assert done.exit_code == 2
    assert "train-test-overlap (64)" in done.stdout


def test_split_says_where_and_how_many(labelled: Path, tmp_path: Path) -> None:
    shares = ("--validation", "0", "--test", "0.25")
    done = outcrop("split", labelled, *MAP, "--to", tmp_path / "out", "--seed", "4", *shares)
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["split.json", "test.jsonl", "train.jsonl"]
    assert "48" in done.stdout
    assert "16" in done.stdout


def test_show_prints_the_rows_as_the_mapping_makes_them(labelled: Path) -> None:
    done = outcrop("show", labelled, *MAP, "--template", r"Message: {prompt}\nLabel:", "--rows", "1")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[:6] == [f"{labelled}:1", "prompt", f"Message: {prompts()[0]}", "Label:", "completion", "yes"]


def test_show_of_unreadable_data_ends_with_2(labelled: Path) -> None:
    done = outcrop("show", labelled, "--map", "prompt=txt,completion=label")
    assert done.exit_code == 2
    assert "missing-field" in done.stderr


@pytest.mark.parametrize("verb", ["check", "show"])
def test_a_split_folder_is_answered_with_the_names_of_its_parts(labelled: Path, tmp_path: Path, verb: str) -> None:
    assert outcrop("split", labelled, *MAP, "--to", tmp_path / "split").exit_code == 0
    done = outcrop(verb, tmp_path / "split")
    assert done.exit_code == 2
    assert "is a split" in done.stderr
    assert str(tmp_path / "split" / "train.jsonl") in done.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", ""), "The name of a file is empty."),
        (("check", "/dev/null"), "does not say of what type the file is."),
        (("check", "ROWS", "--max-chars", "0"), "'--max-chars': Input should be greater than or equal to 1."),
        (("check", "ROWS", "--labels", "no-such-file"), "cannot be read: No such file or directory."),
    ],
)
def test_mistaken_arguments_are_told_in_words(labelled: Path, words: tuple[str, ...], message: str) -> None:
    done = outcrop(*(str(labelled) if word == "ROWS" else word for word in words))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Errno" not in done.stderr
