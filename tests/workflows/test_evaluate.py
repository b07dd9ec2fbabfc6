"""`evaluate`: several models and shots on the same rows."""

import pytest

import outcrop
from outcrop.core.errors import UsageError

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
