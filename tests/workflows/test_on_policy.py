"""Rows that a student answers itself: drawn from its weights of that moment, explained by the teacher, repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import outcrop
from outcrop.core.errors import UsageError
from outcrop.core.events import Event, StopRequested
from outcrop.data.records import Pair
from outcrop.models.loading import load_model
from outcrop.training.batches import Example
from outcrop.training.distillation.objective import Distillation
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import Segment
from outcrop.training.trunk import Trunk
from outcrop.workflows.on_policy import OwnAnswers
from outcrop.workflows.student_training import Course, train_student
from outcrop.workflows.students import Lesson, Student, examples_of, from_teacher
from outcrop.workflows.teachers import LocalTeacher, open_cache
from outcrop.workflows.teaching import explained
from tests.support.training import spec

ROWS = [
    Pair(f"{number} my card has not arrived {number * 7}", ("card", "return the money")[number % 2])
    for number in range(12)
]


def objective(share: float) -> DistillationSpec:
    return DistillationSpec(on_policy_share=share, gold_share=0.1)


def cut_student(base: str) -> Student:
    """Half of the teacher, with a cut vocabulary."""
    return next(each for each in from_teacher(load_model(base), ROWS, trimmed=True) if "depth 50%" in each.name)


def lessons(base: str, chosen: DistillationSpec) -> list[Lesson]:
    teacher = LocalTeacher(load_model(base), open_cache(), lambda event: None)
    return explained(teacher, teacher.loaded.renderer, ROWS, chosen, 0)


class Setting:
    """A student in training, and what renews its rows."""

    def __init__(self, base: str, share: float, dtype: torch.dtype = torch.float32) -> None:
        self.student = cut_student(base)
        loaded = self.student.make()
        self.examples = examples_of(self.student, loaded, lessons(base, objective(share)))
        self.engine = TrainingEngine(loaded.model, spec(), dtype, Distillation(objective(share)))
        self.renew = OwnAnswers(
            self.student, self.student.make(), self.engine, Trunk(load_model(base).model), ROWS, objective(share), 6, 0
        )

    def renewed(self, step: int) -> list[Example]:
        return self.renew(step, range(len(ROWS)), list(self.examples))


def own(examples: Sequence[Example]) -> list[bool]:
    return [bool(segment.teaching and segment.teaching.own) for (segment,) in examples]


def ids(examples: Sequence[Example]) -> list[list[int]]:
    return [segment.ids.tolist() for (segment,) in examples]


def test_a_teacher_in_bf16_says_nearly_the_same_and_is_kept_apart(base: str) -> None:
    whole = [load_model(base).renderer.render(row) for row in ROWS]
    rows = [Segment(np.array(row.token_ids, np.int32), np.array(row.weights, np.float32)) for row in whole]
    told, cache = [], open_cache()
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        teacher = LocalTeacher(load_model(base), cache, lambda event: None, explaining=dtype)
        told.append(teacher.teachings(rows, objective(0.0), 0))
        assert teacher.cached == (len(rows) if len(told) == 3 else 0)
    for plain, rounded, again in zip(*told, strict=True):
        np.testing.assert_array_equal(plain.probabilities, again.probabilities)
        assert not np.array_equal(plain.probabilities, rounded.probabilities)
        np.testing.assert_allclose(plain.probabilities[:, 0], rounded.probabilities[:, 0], atol=0.02)


def test_the_share_of_rows_is_the_students_own(base: str) -> None:
    for share, expected in ((0.0, 0.0), (1.0, 1.0)):
        setting = Setting(base, share)
        assert np.mean(own(setting.renewed(0))) == expected
    half = Setting(base, 0.5)
    assert np.mean([own(half.renewed(step)) for step in range(40)]) == pytest.approx(0.5, abs=0.1)


def test_answers_follow_from_the_weights_and_the_step(base: str) -> None:
    setting = Setting(base, 1.0)
    first = ids(setting.renewed(3))
    assert ids(setting.renewed(3)) == first
    assert ids(setting.renewed(4)) != first
    assert ids(Setting(base, 1.0).renewed(3)) == first
    setting.engine.step(setting.examples, 0, 0.05)
    assert ids(setting.renewed(3)) != first


def test_in_bf16_its_teacher_reads_as_the_training_does(base: str) -> None:
    setting = Setting(base, 1.0, torch.bfloat16)
    assert (setting.renew.sampler.model.dtype, setting.renew.teacher.model.dtype) == (torch.float32, torch.bfloat16)
    assert all(own(setting.renewed(0)))
    assert ids(setting.renewed(0)) == ids(setting.renewed(0))
    setting.engine.step(setting.renewed(0), 0, 0.05)


def test_the_teacher_says_of_them_what_its_forward_pass_says(base: str) -> None:
    setting = Setting(base, 1.0)
    teacher = load_model(base)
    for (segment,), record in zip(setting.renewed(0), ROWS, strict=True):
        prompt = setting.renew.sampler.renderer.prompt(record)
        assert segment.ids[: len(prompt)].tolist() == prompt
        np.testing.assert_array_equal(segment.weights[: len(prompt)], 0)
        np.testing.assert_array_equal(segment.weights[len(prompt) :], 1)
        assert 1 <= len(segment.ids) - len(prompt) <= 6
        new_ids = np.array(setting.student.new_ids)
        theirs = torch.tensor([int(np.flatnonzero(new_ids == token)[0]) for token in segment.ids])
        with torch.no_grad():
            said = teacher.model(input_ids=theirs[None]).logits[0][len(prompt) - 1 : -1].softmax(-1).numpy()
        assert segment.teaching is not None
        for row, (kept, values) in enumerate(zip(segment.teaching.ids, segment.teaching.probabilities, strict=True)):
            for token, value in zip(kept[values > 0], values[values > 0], strict=True):
                assert value == pytest.approx(said[row, np.flatnonzero(new_ids == token)[0]], abs=1e-5)
            assert values.sum() + segment.teaching.rest[row] == pytest.approx(1, abs=1e-5)


def trained(base: str, folder: Path, stop_after: int | None = None) -> dict[str, torch.Tensor]:
    """Weights after a training with half of the answers the student's own, in two parts if it is to stop."""
    chosen = objective(0.5)
    taught = lessons(base, chosen)
    course = Course(taught, [each._replace(teaching=None) for each in taught[:4]], taught[:4], None, {"data": "x"})
    settings = spec(epochs=4, batch_size=4, precision="float32")

    def listen(event: Event) -> None:
        if event["event"] == "step" and event["step"] == stop_after:
            raise StopRequested

    arguments: list[Any] = [cut_student(base), course, settings, {}, chosen, folder]
    if stop_after is not None:
        with pytest.raises(StopRequested):
            train_student(*arguments, listen, behind=base)
    done = train_student(*arguments, lambda event: None, behind=base)
    return {name: tensor.clone() for name, tensor in done.engine.flat.state().items()}


def test_a_training_that_goes_on_draws_what_it_would_have_drawn(base: str, tmp_path: Path) -> None:
    whole, resumed = trained(base, tmp_path / "whole"), trained(base, tmp_path / "resumed", stop_after=5)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_distill_takes_it_as_an_objective(base: str, rows: str, tmp_path: Path) -> None:
    result = outcrop.distill(
        base, [rows], str(tmp_path / "out"), faster=0.01, columns="prompt=text,completion=label", students=[base],
        int8="never",
        objective={"on_policy_share": "0.5"}, settings={"max_steps": 6, "batch_size": 8, "precision": "float32"},
    )  # fmt: skip
    assert "50% of the answers are the student's own" in result.facts.method
    card = load_model(str(tmp_path / "out")).folder.card
    assert card["objective"]["on_policy_share"] == 0.5


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [("openai:x@http://127.0.0.1:9/v1", "bundled:pebble-s", "remote teacher does not say"),
     ("bundled:pebble-s", None, "another tokenizer")],
    ids=["remote", "tokens"],
)  # fmt: skip
def test_who_cannot_explain_is_refused(
    teacher: str, student: str | None, message: str, base: str, rows: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        outcrop.distill(
            teacher, [rows], str(tmp_path / "out"), columns="prompt=text,completion=label",
            students=[student or base], objective={"on_policy_share": 0.5}, settings={"max_steps": 2},
        )  # fmt: skip
