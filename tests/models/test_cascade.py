"""Folders of cascades: what their rule means, whose tokens are whose, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.core.errors import ModelError, UsageError
from outcrop.models.cascade import CascadeSpec, Rule, TokenMap, read_cascade, refuse_cascade
from outcrop.models.folder import CASCADE, STUDENT, find_model
from outcrop.models.loading import load_model
from tests.support.cascades import TEXTS, tiny_student, write_tiny_cascade
from tests.support.tiny import tiny_tokenizer


@given(st.floats(0, 1), st.floats(0.01, 50), st.floats(-20, 20))
def test_threshold_0_always_trusts_and_1_never(probability: float, slope: float, offset: float) -> None:
    rule = Rule(slope=slope, offset=offset)
    assert rule.model_copy(update={"threshold": 0.0}).trusts(probability)
    assert not rule.model_copy(update={"threshold": 1.0}).trusts(probability)
    assert 0 <= rule.confidence(probability) <= 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_confidence_keeps_the_order(one: float, other: float) -> None:
    rule = Rule(slope=0.7, offset=-1.0)
    assert (one <= other) <= (rule.confidence(one) <= rule.confidence(other))


def test_labels_and_their_rule_go_together() -> None:
    with pytest.raises(UsageError, match="labels and choices go together"):
        CascadeSpec.parse({"labels": ["a", "b"]})


def test_every_text_has_the_students_own_tokens() -> None:
    teacher, student = tiny_tokenizer(), tiny_student().tokenizer
    tokens = TokenMap.of(teacher, student)
    assert len(student) < len(teacher)
    for text in (*TEXTS, "why was I charged a fee for the exchange", "grüße, 你好"):
        ids = tokens.students(tuple(teacher(text).input_ids))
        assert ids is not None
        assert student.decode(list(ids)) == text
    for text in TEXTS:  # all their tokens are kept
        assert tokens.students(tuple(teacher(text).input_ids)) == tuple(student(text).input_ids)
    names = {token: name for name, token in teacher.get_vocab().items()}
    assert all(names[tokens.to_teacher[own]] == name for name, own in student.get_vocab().items())


def test_a_student_with_tokens_of_its_own_is_refused() -> None:
    with pytest.raises(ModelError, match="tokens that its teacher lacks"):
        TokenMap.of(tiny_student().tokenizer, tiny_tokenizer())


def test_a_folder_holds_both_and_knows_its_student(base: str, tmp_path: Path) -> None:
    place = write_tiny_cascade(tmp_path / "cascade", base, answers=Rule(threshold=0.5))
    folder = find_model(place)
    loaded = load_model(place)
    assert loaded.student is not None
    assert loaded.rule == read_cascade(folder)
    assert folder.parameters == loaded.parameters > find_model(base).parameters
    before = folder.digest()
    assert before != find_model(base).digest()
    path = tmp_path / "cascade" / CASCADE
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert find_model(place).digest() != before


def test_another_student_than_the_rule_was_set_for_is_refused(base: str, tmp_path: Path) -> None:
    place = tmp_path / "cascade"
    write_tiny_cascade(place, base, answers=Rule(threshold=0.5))
    config = place / STUDENT / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "other": 1}))
    with pytest.raises(ModelError, match="not the one that the cascade was set for"):
        load_model(str(place))


def test_one_model_is_needed_for_training(base: str, tmp_path: Path) -> None:
    place = write_tiny_cascade(tmp_path / "cascade", base, answers=Rule())
    refuse_cascade(find_model(base), "tuning")
    with pytest.raises(ModelError, match="cascade of two models, tuning takes one"):
        refuse_cascade(find_model(place), "tuning")
