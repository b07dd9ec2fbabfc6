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
