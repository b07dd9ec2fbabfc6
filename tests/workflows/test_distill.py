"""`distill` from prompts to a proven student: what it makes, asks once, refuses, and finds again after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import outcrop
from outcrop.core.errors import DataError, ModelError, UsageError
from outcrop.core.files import digest
from outcrop.models.folder import extend_card
from outcrop.models.loading import load_model
from outcrop.store.teacher_cache import TeacherCache
from outcrop.workflows.distill import DistillResult

COLUMNS, TEMPLATE = "prompt=text,completion=label", "Message: {prompt}\\nIntent:"
PROVENANCE = {"name": "calls", "licences": ["CC-BY-4.0"]}
FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}


@pytest.fixture(scope="module")
def teacher(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model, tuned on rows like those of the `rows` fixture."""
    folder = tmp_path_factory.mktemp("teacher")
    lines = [
        json.dumps({"text": f"{number} {words} {number * 7 % 90}", "label": label})
        for number in range(60)
        for label, words in [
            [("card", "my card has not arrived"), ("refund", "return the money"), ("fee", "a fee")][number % 3]
        ]
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    outcrop.tune(
        base, [str(folder / "rows.jsonl")], str(folder / "model"), columns=COLUMNS, template=TEMPLATE, settings=FAST
    )
    return str(folder / "model")


def distill(teacher: str, rows: str, to: Path, **more: Any) -> DistillResult:
    settings = {**FAST, **more.pop("settings", {})}
    return outcrop.distill(teacher, [rows], str(to), faster=0.01, int8="never", settings=settings, **more)


def prompts_of(rows: str, folder: Path) -> str:
    """The rows without their answers."""
    path = folder / "prompts.jsonl"
    kept = [{"text": json.loads(line)["text"]} for line in Path(rows).read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return str(path)


def test_prompts_alone_make_a_student_with_a_report(
    teacher: str, rows: str, tmp_path: Path, outcrop_home: Path
) -> None:
    prompts = prompts_of(rows, tmp_path)
    described = {"provenance": PROVENANCE, "files": [{"digest": digest(Path(prompts))}]}
    (tmp_path / "card.json").write_text(json.dumps(described))
    extend_card(Path(teacher), {"licence": "of the teacher"})
    result = distill(teacher, prompts, tmp_path / "out")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "model.safetensors",
        "outcrop.json",
        "report.html",
        "distillation.json",
        "teacher.jsonl",
        "test.jsonl",
    } <= made
    assert not list(tmp_path.glob("*.partial"))
    card = json.loads((tmp_path / "out" / "outcrop.json").read_text())
    assert card["kind"] == "distilled"
    assert card["teacher"]["name"] == teacher
    assert card["answers"]["of the data"] == 0
    assert card["teacher"]["licence"] == card["licence"] == "of the teacher"
    assert card["data_provenance"] == [PROVENANCE]
    student = load_model(str(tmp_path / "out"))
    assert sum(p.numel() for p in student.model.parameters()) == result.parameters
    assert [system.name for system in result.evaluation.systems] == [
        "teacher before tuning", "teacher", "student before", "student, distilled",
    ]  # fmt: skip
    assert any("they take 4 training rows" in note for note in result.evaluation.notes)
    assert result.facts.candidates
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Students" in page
    assert result.student in result.verdict
    assert any("agreement with the teacher" in note for note in result.notes)
    cost = result.facts.cost
    assert cost is not None
    assert list(cost.stages_s) == ["reading", "teacher", "search", "training", "comparison", "int8", "proof"]
    assert cost.usd is None
    assert cost.teacher.output_tokens is not None
    assert json.loads((tmp_path / "out" / "distillation.json").read_text())["cost"] == cost.as_dict() == card["cost"]
    assert cost.sentence in page
    assert not (tmp_path / "out" / "run" / "seconds.json").exists()


def test_states_of_every_token_are_learnt_from_where_they_are_asked_for(
    teacher: str, rows: str, tmp_path: Path
) -> None:
    result = distill(teacher, rows, tmp_path / "out", objective={"states_weight": 2}, settings={"max_steps": 4})
    assert ("weight 2" in result.facts.method) != ("channels" in result.student)


def test_labelled_rows_bring_the_student_of_the_data_alone(teacher: str, base: str, rows: str, tmp_path: Path) -> None:
    chosen = {"divergence": "jensen_shannon", "gold_share": 0}
    result = distill(teacher, rows, tmp_path / "out", relabel=True, objective=chosen, students=[base], hourly_price=2)
    assert result.facts.cost is not None
    assert result.facts.cost.usd == pytest.approx(result.facts.cost.machine_s * 2 / 3600)
    assert result.facts.divergence[1] < result.facts.divergence[0] / 2
    assert "hidden states" not in result.facts.method
    assert result.facts.learnt
    names = [system.name for system in result.evaluation.systems]
    assert names == [
        "teacher before tuning", "teacher before tuning, 4-shot at most", "teacher", "student before",
        "student, answers of the data only", "student, distilled",
    ]  # fmt: skip
    assert any("measured without them" in note for note in result.evaluation.notes)
    assert all(system.output_tokens_mean is not None for system in result.evaluation.systems)
    assert result.facts.proof.metric == "accuracy"
    assert 0 <= result.facts.proof.agreement.value <= 1
    assert result.as_dict()["facts"]["target"] == {"within": 2.0, "faster": 0.01, "metric": ""}
    json.dumps(result.as_dict(), allow_nan=False)


@pytest.mark.parametrize("shots", [0, 2])
def test_a_teacher_that_is_only_prompted_gets_worked_examples(base: str, rows: str, tmp_path: Path, shots: int) -> None:
    result = distill(
        base, rows, tmp_path / "out", relabel=True, students=[base], columns=COLUMNS, template=TEMPLATE, shots=shots,
        settings={"max_steps": 2},
    )  # fmt: skip
    teachers = [system.name for system in result.evaluation.systems if system.name.startswith("teacher")]
    assert teachers == ["teacher", "teacher, 2-shot"][: 2 if shots else 1]
    assert result.evaluation.baseline == "teacher"


def test_a_teacher_is_asked_once(teacher: str, base: str, rows: str, tmp_path: Path, outcrop_home: Path) -> None:
    first = distill(teacher, rows, tmp_path / "a", relabel=True, students=[base])
    again = distill(teacher, rows, tmp_path / "b", relabel=True, students=[base], settings={"epochs": 1})
    assert first.facts.teacher_calls > 0
    assert again.facts.teacher_calls == 0
    assert again.facts.teacher_calls_cached == first.facts.teacher_calls + first.facts.teacher_calls_cached
    kinds = {holding.kind for holding in TeacherCache(outcrop_home / "teachers.db").holdings()}
    assert kinds == {"labels", "signal"}


def test_a_given_student_with_other_tokens_learns_from_answers(teacher: str, rows: str, tmp_path: Path) -> None:
    result = distill(teacher, rows, tmp_path / "out", students=["bundled:pebble-s"], settings={"max_steps": 3})
    assert result.student == "bundled:pebble-s"
    assert "plain tuning on the teacher's answers" in result.facts.method
    torch.testing.assert_close(load_model(str(tmp_path / "out")).model.config.vocab_size, 8192)


def test_the_metric_can_be_chosen_and_bounds_the_loss(
    teacher: str, base: str, rows: str, tmp_path: Path
) -> None:
    result = distill(teacher, rows, tmp_path / "out", metric="macro_f1", students=[base], settings={"max_steps": 3})
    proof, (first, *_) = result.facts.proof, result.evaluation.metrics
    assert proof.metric == first.name == "macro_f1"
    lost = [result.evaluation.system(name).metrics["macro_f1"].value for name in ("teacher", "student, distilled")]
    assert proof.loss == pytest.approx(lost[0] - lost[1])
    assert proof.bound > proof.loss
    assert "bootstrap" in proof.method


def test_a_vocabulary_holds_what_the_teacher_says_of_held_out_rows(teacher: str, rows: str, tmp_path: Path) -> None:
    """Held-out rows have answers of their own, and the teacher's are other words: both are met."""
    path = tmp_path / "open.jsonl"
    lines = [json.loads(line) for line in Path(rows).read_text().splitlines()]
    made = [{"text": row["text"], "label": f"{row['label']} of {row['text']}"} for row in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    result = distill(teacher, str(path), tmp_path / "out", settings={"max_steps": 2}, longest_answer=8)
    assert "vocabulary" in result.student


def test_a_metric_without_a_bound_is_refused(teacher: str, rows: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not measured by perplexity"):
        distill(teacher, rows, tmp_path / "out", metric="perplexity")
    assert not (tmp_path / "out").exists()


def test_a_metric_that_does_not_fit_the_answers_is_refused_before_the_teacher_is_asked(
    teacher: str, rows: str, tmp_path: Path, outcrop_home: Path
) -> None:
    with pytest.raises(DataError, match="is no JSON object"):
        distill(teacher, rows, tmp_path / "out", metric="slot_f1", relabel=True)
    assert not (tmp_path / "out").exists()
    assert not list(TeacherCache(outcrop_home / "teachers.db").holdings())


def test_what_is_wrong_is_said_before_any_work(teacher: str, rows: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean: divergence"):
        distill(teacher, rows, tmp_path / "out", objective={"divergance": "forward_kl"})
    with pytest.raises(UsageError, match="Did you mean: --student labels"):
        distill(teacher, rows, tmp_path / "out", students=["label"])
    with pytest.raises(ModelError, match="There is no model folder tiny"):
        distill(teacher, rows, tmp_path / "out", students=["tiny"])
    with pytest.raises(UsageError, match="costs are then told in seconds"):
        distill(teacher, rows, tmp_path / "out", hourly_price=0)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.partial"))
