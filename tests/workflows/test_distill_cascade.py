"""`distill --cascade`: one model of two, which every verb takes, and whose loss is bounded where it was set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import outcrop
from outcrop.core.errors import ModelError, UsageError
from outcrop.models.folder import STUDENT
from outcrop.models.loading import load_model
from outcrop.workflows.distill import DistillResult

COLUMNS, TEMPLATE = "prompt=text,completion=label", "Message: {prompt}\\nIntent:"
FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}


@pytest.fixture(scope="module")
def teacher(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return tuned(base, tmp_path_factory.mktemp("teacher"))


def tuned(base: str, folder: Path) -> str:
    """A tiny model, tuned on rows as `written` makes them."""
    outcrop.tune(
        base, [written(folder, 120)], str(folder / "model"), columns=COLUMNS, template=TEMPLATE,
        settings={**FAST, "epochs": 4},
    )  # fmt: skip
    return str(folder / "model")


def written(folder: Path, rows: int) -> str:
    """Rows of three intents, no two of them near-duplicates."""
    intents = ("my card has not arrived", "return the money", "a fee")
    lines = [
        {"text": f"{number * 7919 % 100_003} {intents[number % 3]} {number * 104_729 % 99_991}",
         "label": ("card", "refund", "fee")[number % 3]}
        for number in range(rows)
    ]  # fmt: skip
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def made(teacher: str, base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DistillResult, list[str]]:
    """A cascade with enough validation rows for ten points, its result, and what was warned of."""
    folder, warnings = tmp_path_factory.mktemp("made"), []
    result = outcrop.distill(
        teacher, [written(folder, 260)], str(folder / "out"), cascade=True, within=10, faster=0.01, int8="never",
        settings={**FAST, "eval_percentage": 25}, students=["auto"],
        listener=lambda event: warnings.append(event["code"]) if event["event"] == "warning" else None,
    )  # fmt: skip
    return str(folder / "out"), result, warnings


def test_its_report_says_who_answers(made: tuple[str, DistillResult, list[str]]) -> None:
    place, result, _ = made
    names = [system.name for system in result.evaluation.systems]
    assert names[-2:] == ["student, distilled", "cascade"]
    assert result.evaluation.candidate == "cascade"
    facts = result.facts.cascade
    assert facts is not None
    assert [way.way for way in facts.ways] == ["answers that are written", "choices among the labels"]
    for way in facts.ways:
        assert way.validated_bound is None or way.validated_bound < 0.1
        assert (way.threshold < 1) == (way.validated_bound is not None)
    cascade, student, behind = (result.evaluation.system(name) for name in ("cascade", "student, distilled", "teacher"))
    assert all(a in pair for a, *pair in zip(cascade.answers, student.answers, behind.answers, strict=True))
    assert "its teacher behind it" in result.verdict
    assert "Answered by the student" in (Path(place) / "report.html").read_text()
    json.dumps(result.as_dict(), allow_nan=False)


def test_it_is_one_model_for_every_verb(made: tuple[str, DistillResult, list[str]], tmp_path: Path) -> None:
    place = made[0]
    loaded = load_model(place)
    assert loaded.student is not None
    card = loaded.folder.card
    assert (card["kind"], card["labels"]) == ("cascade", ["card", "fee", "refund"])
    assert card["prompt"] == {"template": "Message: {prompt}\nIntent:", "column": "text"}
    assert outcrop.generate(place, "17 return the money 4").text in ("card", "fee", "refund")
    rows = written(tmp_path, 12)
    found = outcrop.batch(place, [rows], str(tmp_path / "answers"), columns="prompt=text", template=TEMPLATE)
    assert found.succeeded == 12
    scored = outcrop.evaluate([place, str(Path(place) / STUDENT)], [rows], str(tmp_path / "scores"))
    assert len(scored.systems) == 2


def test_it_is_not_trained(made: tuple[str, DistillResult, list[str]], teacher: str, tmp_path: Path) -> None:
    rows = written(tmp_path, 12)
    with pytest.raises(ModelError, match="cascade of two models"):
        outcrop.tune(made[0], [rows], str(tmp_path / "out"), columns=COLUMNS)
    with pytest.raises(ModelError, match="cascade of two models"):
        outcrop.distill(made[0], [rows], str(tmp_path / "out"))


def test_too_few_validation_rows_leave_everything_to_the_teacher(teacher: str, tmp_path: Path) -> None:
    warned: list[str] = []
    result = outcrop.distill(
        teacher, [written(tmp_path, 60)], str(tmp_path / "out"), cascade=True, faster=0.01, int8="never",
        settings={**FAST, "max_steps": 2},
        listener=lambda event: warned.append(event["code"]) if event["event"] == "warning" else None,
    )  # fmt: skip
    assert warned.count("idle-cascade") == 2
    assert result.facts.cascade is not None
    assert result.facts.cascade.share.value == 0
    cascade, behind = (result.evaluation.system(name) for name in ("cascade", "teacher"))
    assert cascade.answers == behind.answers


def test_students_with_other_tokens_are_refused_before_any_training(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another tokenizer than its teacher"):
        outcrop.distill(
            teacher, [written(tmp_path, 60)], str(tmp_path / "out"), cascade=True, students=["bundled:pebble-s"],
            settings=FAST,
        )  # fmt: skip
