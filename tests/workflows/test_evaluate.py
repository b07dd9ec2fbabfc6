"""`evaluate`: several models and shots on the same rows."""

import json
from pathlib import Path

import pytest

import outcrop
from outcrop.core.errors import DataError, UsageError
from outcrop.data.mapping import Mapping
from outcrop.workflows.check_data import split_data

COLUMNS, TEMPLATE = "prompt=text,completion=label", "Message: {prompt}\\nIntent:"


def test_models_and_shots_are_compared_on_the_same_rows(base, rows, tmp_path):
    result = outcrop.evaluate(
        [base],
        [rows],
        str(tmp_path / "out"),
        columns=COLUMNS,
        template=TEMPLATE,
        shots=[0, 2],
        shots_from=[rows],
        limit=30,
    )
    assert [system.name[-6:] for system in result.systems] == ["0-shot", "2-shot"]
    assert len(result.comparisons) == 2
    assert result.systems[0].metrics["accuracy"].n == 30
    assert {"evaluation.json", "report.html"} == {path.name for path in (tmp_path / "out").iterdir()}


def test_shots_need_rows_to_draw_from(base, rows, tmp_path):
    with pytest.raises(UsageError, match="--shots-from"):
        outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS, template=TEMPLATE, shots=[2])
    assert not (tmp_path / "out").exists()


def test_open_answers_are_generated(base, tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text("".join(f'{{"prompt": "say {n}", "completion": "answer number {n} and more"}}\n' for n in range(6)))
    result = outcrop.evaluate([base], [str(path)], str(tmp_path / "out"))
    assert result.labels is None
    assert result.metrics[0].name == "exact_match"


def test_models_with_the_same_last_name_are_told_apart(base, rows, tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "model").symlink_to(base)
    models = [str(tmp_path / place / "model") for place in ("a", "b")]
    result = outcrop.evaluate(models, [rows], str(tmp_path / "out"), columns=COLUMNS, template=TEMPLATE, limit=4)
    assert [system.name for system in result.systems] == models


@pytest.mark.parametrize(
    ("models", "metrics", "message"), [(2, (), "named twice"), (1, ("accuray",), "accuray"), (1, ("bleu", "x"), "x")]
)
def test_mistakes_are_told_before_the_test_rows_are_looked_at(
    base, rows, tmp_path, outcrop_home, models, metrics, message
):
    with pytest.raises(UsageError, match=message):
        outcrop.evaluate([base] * models, [rows], str(tmp_path / "out"), columns=COLUMNS, metrics=metrics)
    assert not list(outcrop_home.rglob("looks.jsonl"))


def test_rows_that_the_model_was_trained_on_or_chosen_by_are_named(base, rows, tmp_path):
    watched = tmp_path / "watched.jsonl"
    watched.write_text('{"text": "a row to watch", "label": "card"}\n')
    outcrop.tune(
        base, [rows], str(tmp_path / "out"), validation=[str(watched)], columns=COLUMNS, settings={"epochs": 1}
    )
    events = []
    for number, path in enumerate((rows, str(watched))):
        outcrop.evaluate([str(tmp_path / "out")], [path], str(tmp_path / str(number)), limit=3, listener=events.append)
    told = [event["message"] for event in events if event.get("code") == "seen-rows"]
    assert ["trained on" in told[0], "chosen by" in told[1], len(told)] == [True, True, 2]


@pytest.fixture
def split(rows, tmp_path) -> Path:
    split_data([rows], tmp_path / "split", Mapping.from_text(COLUMNS, TEMPLATE))
    return tmp_path / "split"


def test_a_split_folder_stands_for_its_sealed_test_and_its_training_rows(base, split, tmp_path):
    result = outcrop.evaluate([base], [str(split)], str(tmp_path / "out"), shots=[0, 2])
    assert result.data.path == str(split / "test.jsonl")
    assert (result.data.sealed, result.data.looks) == (True, 1)
    assert result.data.rows == len((split / "test.jsonl").read_text().splitlines())
    again = outcrop.evaluate([base], [str(split / "test.jsonl")], str(tmp_path / "again"))
    assert (again.data.sealed, again.data.looks) == (True, 2)


def test_a_plain_file_is_not_called_sealed(base, rows, tmp_path):
    result = outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS, limit=4)
    assert (result.data.sealed, result.data.looks) == (False, 1)


def test_a_split_is_read_as_it_was_written_although_the_model_was_tuned_on_the_file(base, rows, split, tmp_path):
    outcrop.tune(base, [rows], str(tmp_path / "out"), columns=COLUMNS, template=TEMPLATE, settings={"max_steps": 1})
    assert outcrop.evaluate([str(tmp_path / "out")], [str(split)], str(tmp_path / "report")).data.sealed


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"shots": [500]}, UsageError, "500 worked examples need at least as many"),
        ({"columns": COLUMNS}, UsageError, "records already"),
        ({"data": ["split", "rows.jsonl"]}, UsageError, "one of them at a time"),
        ({"changed": "test.jsonl"}, DataError, "not the file that was split"),
        ({"shots": [2], "shots_from": ["texts.jsonl"]}, UsageError, "there are 0"),
        ({"shots": [1], "long": True}, UsageError, "Not one worked example fits"),
    ],
)
def test_what_is_refused_is_refused_before_the_look(
    base, split, texts, tmp_path, outcrop_home, monkeypatch, change, error, says
):
    monkeypatch.chdir(tmp_path)
    if changed := change.pop("changed", None):
        (split / changed).write_text((split / changed).read_text() + "\n")
    if change.pop("long", False):
        row = json.dumps({"prompt": "a long card " * 60, "completion": "fee"}) + "\n"
        Path("long.jsonl").write_text(row * 3)
        change["shots_from"] = ["long.jsonl"]
    with pytest.raises(error, match=says):
        outcrop.evaluate([base], **{"data": ["split"], "to": "out", **change})
    assert not list(outcrop_home.rglob("looks.jsonl"))
    assert not Path("out").exists()


def test_fewer_worked_examples_than_asked_for_are_told_in_name_and_description(base, split, tmp_path):
    result = outcrop.evaluate([base], [str(split)], str(tmp_path / "out"), shots=[1, 20])
    one, many = result.systems
    assert one.name.endswith("1-shot")
    assert many.name.endswith("20-shot at most")
    assert "rows have room for fewer" in many.description


def test_rows_with_special_tokens_are_refused_before_the_look_or_left_out_and_noted(base, rows, tmp_path, outcrop_home):
    lines = Path(rows).read_text().splitlines()
    lines[3] = json.dumps({"text": "what is <unk> here", "label": "fee"})
    Path(rows).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"'<unk>' in 1 \(.*rows.jsonl:4\)"):
        outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS)
    assert not list(outcrop_home.rglob("looks.jsonl"))
    result = outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS, drop_bad_rows=True)
    assert result.data.rows == 89
    assert any("'<unk>' in 1" in note and "left out" in note for note in result.notes)


def test_the_longest_answer_is_that_of_the_labels_and_is_told(base, rows, tmp_path):
    events = []
    outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS, limit=30, listener=events.append)
    told = next(event["parameters"] for event in events if event["event"] == "resolved")
    by_name = {entry["name"]: entry for entry in told}
    tokens = outcrop.models.loading.load_model(base).tokenizer
    assert by_name["max_new_tokens"]["value"] == max(
        len(tokens(" " + label).input_ids) + 1 for label in ("card", "refund", "fee")
    )
    assert by_name["max_new_tokens"]["source"] == "data: the longest of 3 labels"
    assert "max_new_tokens" in (tmp_path / "out" / "report.html").read_text()


def test_rows_without_room_for_an_answer_are_named_before_the_look_or_left_out(base, rows, tmp_path, outcrop_home):
    with Path(rows).open("a") as file:
        file.write(json.dumps({"text": "a long card " * 200, "label": "fee"}) + "\n")
    with pytest.raises(DataError, match=r"1 of 91 prompts leave no room.*rows.jsonl:91.*--drop-bad-rows"):
        outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS)
    assert not list(outcrop_home.rglob("looks.jsonl"))
    result = outcrop.evaluate([base], [rows], str(tmp_path / "out"), columns=COLUMNS, drop_bad_rows=True)
    assert result.data.rows == 90
    assert any("1 row is left out" in note for note in result.notes)
