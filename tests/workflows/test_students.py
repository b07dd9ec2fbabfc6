"""Students and what they learn: a teacher's word in their own ids, tokenizers compared by what they do."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.core.errors import ModelError
from outcrop.data.records import Pair
from outcrop.models.loading import load_model
from outcrop.training.layout import Teaching
from outcrop.workflows.students import Lesson, examples_of, from_teacher, given, in_students_ids

ROWS = [Pair(f"Message: my card {word} has not arrived\nIntent:", "card_arrival") for word in ("red", "blue", "green")]


def test_what_a_student_has_no_token_for_joins_the_rest() -> None:
    teaching = Teaching(
        np.array([[3, 5], [5, 0]], np.int32), np.array([[0.6, 0.3], [0.8, 0.0]], np.float32),
        np.array([0.1, 0.2], np.float32),
    )  # fmt: skip
    numbers = np.array([0, -1, -1, 7, -1, -1], np.int32)
    found = in_students_ids(teaching, numbers)
    np.testing.assert_array_equal(found.ids, [[7, 0], [0, 0]])
    np.testing.assert_allclose(found.probabilities, [[0.6, 0], [0, 0]])
    np.testing.assert_allclose(found.rest, [0.4, 1.0], atol=1e-6)


def test_cut_students_learn_in_their_own_ids() -> None:
    teacher = load_model("bundled:pebble-s")
    students = from_teacher(teacher, ROWS, trimmed=True)
    names = [student.name for student in students]
    assert len(names) == len(set(names)) > 5
    assert all("vocabulary" in name for name in names)
    student = students[2]
    made, again = student.make(), student.make()
    assert made.model.config.num_hidden_layers < teacher.model.config.num_hidden_layers
    assert all((a == b).all() for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True))
    ids = np.array(teacher.renderer.answer(ROWS[0], "card_arrival"), np.int32)
    said = Teaching(ids[:, None], np.full((len(ids), 1), 0.9, np.float32), np.full(len(ids), 0.1, np.float32))
    ((segment,),) = examples_of(student, made, [Lesson(ROWS[0], ids, said)])
    assert segment.teaching is not None
    np.testing.assert_array_equal(segment.teaching.ids[:, 0], segment.ids[segment.weights != 0])


def test_states_are_for_students_as_wide_as_their_teacher() -> None:
    teacher = load_model("bundled:pebble-s")
    ids = np.array(teacher.renderer.answer(ROWS[0], "card_arrival"), np.int32)
    said = Teaching(
        ids[:, None], np.full((len(ids), 1), 0.9, np.float32), np.full(len(ids), 0.1, np.float32),
        states=np.ones((len(ids), teacher.model.config.hidden_size), np.float16),
    )  # fmt: skip
    for student in from_teacher(teacher, ROWS, trimmed=True):
        made = student.make()
        ((segment,),) = examples_of(student, made, [Lesson(ROWS[0], ids, said)])
        assert segment.teaching is not None
        assert (segment.teaching.states is None) == (made.model.config.hidden_size < teacher.model.config.hidden_size)
    assert "channels" in student.name


def test_an_answer_of_other_tokens_is_refused() -> None:
    teacher = load_model("bundled:pebble-s")
    student = from_teacher(teacher, ROWS, trimmed=True)[0]
    said = Teaching(np.zeros((2, 1), np.int32), np.ones((2, 1), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ModelError, match="tokenise an answer differently"):
        examples_of(student, student.make(), [Lesson(ROWS[0], np.array([3, 4], np.int32), said)])


def test_tokenizers_are_compared_by_tokens_not_sizes(base: str) -> None:
    teacher = load_model("bundled:pebble-s")
    assert given("bundled:pebble-s", teacher, ROWS).new_ids == range(len(teacher.tokenizer))
    assert given(base, teacher, ROWS).new_ids is None
    assert given("bundled:pebble-s", None, ROWS).new_ids is None
