"""`distill --student phrases`: tokens for what a task says again and again, learnt beside the teacher's states, and a
model that every verb asks like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop.core.errors import ModelError, UsageError
from outcrop.data.records import Pair
from outcrop.models.loading import load_model
from outcrop.models.lora import LoraShape, attach, save_adapter
from outcrop.training.layout import Teaching
from outcrop.workflows.distill import DistillResult
from outcrop.workflows.students import Lesson, examples_of, from_teacher
from tests.workflows.test_distill_cascade import FAST

COLUMNS, TEMPLATE = "prompt=text,completion=slots{}", "Message: {prompt}\\nSlots:"
NAMES = ("Ada", "Bo", "Cy", "Di")


def written(folder: Path, rows: int) -> str:
    """Orders with a name and a number to be copied, no two of them near-duplicates."""
    lines = []
    for number in range(rows):
        name, count = NAMES[number % 4], number * 7919 % 97
        text = f"{number * 104_729 % 99_991} please {name} wants {count} of them {number * 7907 % 100_003}"
        lines.append({"text": text, "slots": {"name": name, "count": str(count)}})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def teacher(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    outcrop.tune(
        base, [written(folder, 120)], str(folder / "model"), columns=COLUMNS, template=TEMPLATE,
        settings={**FAST, "epochs": 3},
    )  # fmt: skip
    return str(folder / "model")


@pytest.fixture(scope="module")
def made(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DistillResult]:
    folder = tmp_path_factory.mktemp("made")
    result = outcrop.distill(
        teacher, [written(folder, 200)], str(folder / "out"), faster=0.01, students=["phrases"],
        settings={**FAST, "epochs": 2}, int8="never",
    )  # fmt: skip
    return str(folder / "out"), result


def test_its_teacher_tells_its_states_and_it_learns_them(made: tuple[str, DistillResult]) -> None:
    place, result = made
    assert "phrases" in result.student
    assert "hidden states" in result.facts.method
    assert json.loads((Path(place) / "outcrop.json").read_text())["objective"]["states_weight"] == 5


def test_its_answers_are_shorter_than_its_teachers(teacher: str, made: tuple[str, DistillResult]) -> None:
    row = Pair("Message: 5 please Ada wants 12 of them 7\nSlots:", '{"name": "Ada", "count": "12"}')
    before, after = (load_model(place).renderer for place in (teacher, made[0]))
    assert len(after.answer(row, row.completion)) < len(before.answer(row, row.completion))
    assert len(after.prompt(row)) < len(before.prompt(row))


def test_verbs_ask_it_as_any_model(made: tuple[str, DistillResult], tmp_path: Path) -> None:
    answer = outcrop.generate(made[0], "5 please Ada wants 12 of them 7", max_new_tokens=40)
    assert "<|" not in answer.text
    assert answer.text == "".join(outcrop.stream(made[0], "5 please Ada wants 12 of them 7", max_new_tokens=40))
    rows = tmp_path / "asked.jsonl"
    rows.write_text(json.dumps({"prompt": "5 please Ada wants 12 of them 7"}) + "\n")
    assert outcrop.batch(made[0], [str(rows)], str(tmp_path / "answers")).rows == 1


def test_the_word_on_a_phrase_is_that_on_all_its_tokens(teacher: str) -> None:
    loaded = load_model(teacher)
    rows = [Pair("Message: Ada\nSlots:", '{"count": "12"}')] * 20
    student = from_teacher(loaded, rows, trimmed=True, answered=rows)[2]
    ids = np.array(loaded.renderer.answer(rows[0], rows[0].completion), np.int32)
    likely = np.linspace(0.9, 0.99, len(ids), dtype=np.float32)
    states = np.arange(len(ids) * loaded.model.config.hidden_size, dtype=np.float16).reshape(len(ids), -1)
    other = np.where(ids > 0, ids - 1, 1).astype(np.int32)
    said = Teaching(
        np.stack([other, ids], 1), np.stack([(1 - likely) / 2, likely], 1), (1 - likely) / 2, states=states
    )  # fmt: skip
    made = student.make()
    ((segment,),) = examples_of(student, made, [Lesson(rows[0], ids, said)])
    phrases = made.renderer.runs(segment.ids[segment.weights != 0].tolist())
    assert segment.teaching is not None
    assert segment.teaching.states is not None
    firsts = np.cumsum([0, *(len(run) for run in phrases[:-1])])
    assert len(phrases) < len(ids)
    np.testing.assert_array_equal(segment.teaching.ids[:, 0], segment.ids[segment.weights != 0])
    expected = [likely[first : first + len(run)].prod() for first, run in zip(firsts, phrases, strict=True)]
    np.testing.assert_allclose(segment.teaching.probabilities[:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(segment.teaching.rest, 1 - np.array(expected), atol=1e-6)
    np.testing.assert_array_equal(segment.teaching.states, states[firsts])


def test_a_teacher_may_have_phrases_itself(made: tuple[str, DistillResult]) -> None:
    loaded = load_model(made[0])
    row = Pair("Message: 5 please Ada wants 12 of them 7\nSlots:", '{"name": "Ada", "count": "12"}')
    ids = np.array(loaded.renderer.answer(row, row.completion), np.int32)
    said = Teaching(ids[:, None], np.full((len(ids), 1), 0.9, np.float32), np.full(len(ids), 0.1, np.float32))
    student = from_teacher(loaded, [row], trimmed=True)[0]
    ((segment,),) = examples_of(student, student.make(), [Lesson(row, ids, said)])
    assert segment.teaching is not None
    assert len(segment.teaching.ids) == len(ids) < sum(map(len, loaded.renderer.runs(ids.tolist())))
    with pytest.raises(ModelError, match="tokens of its own"):
        from_teacher(loaded, [row], trimmed=True, answered=[row])


@pytest.mark.parametrize("asked", [{"cascade": True}, {"objective": {"on_policy_share": 0.5}}])
def test_what_needs_its_teachers_tokens_is_refused(teacher: str, asked: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="student's own"):
        outcrop.distill(
            teacher, [written(tmp_path, 60)], str(tmp_path / "out"), students=["phrases"], settings=FAST, **asked
        )  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [{"students": ["labels"]}, {"students": ["phrases"]}, {"cascade": True}])
def test_a_teacher_with_tokens_of_its_own_is_told_what_it_cannot_teach_at_once(
    made: tuple[str, DistillResult], asked: dict[str, object], tmp_path: Path
) -> None:
    stages: list[str] = []
    with pytest.raises((ModelError, UsageError), match=r"tokens of its own|as tokens"):
        outcrop.distill(
            made[0], [written(tmp_path, 60)], str(tmp_path / "out"), settings=FAST,
            listener=lambda event: stages.append(event.get("title", "")), **asked,
        )  # type: ignore[arg-type]
    assert "The teacher answers" not in stages


def test_an_adapter_without_a_card_renders_as_its_base(made: tuple[str, DistillResult], tmp_path: Path) -> None:
    base = load_model(made[0])
    folder, shape = tmp_path / "adapter", LoraShape(rank=2, alpha=4.0)
    attach(base.model, shape, seed=0)
    state = {name: each for name, each in base.model.named_parameters() if each.requires_grad}
    folder.mkdir()
    save_adapter(base.model, folder, made[0], shape, state)
    assert not (folder / "outcrop.json").exists()
    assert load_model(str(tmp_path / "adapter")).renderer.spec == base.renderer.spec
