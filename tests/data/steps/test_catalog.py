"""Every step of the catalog obeys the rules of steps: tested before its author writes a test."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.core.spec import Spec
from outcrop.data.records import Record, answer_text, is_answer, parts
from outcrop.data.steps.catalog import DEFAULT_CHAIN, STEPS
from outcrop.data.steps.step import RowStep, SetStep, Step
from tests.data.corpus import records

KINDS = ("prompt-completion", "openai-chat", "input")


def build(name: str) -> Step[Any]:
    return STEPS.load(name)()


def of_kind(kind: type[Step[Any]]) -> list[str]:
    return [name for name in STEPS if issubclass(STEPS.load(name), kind)]


def dirty(format: str) -> list[Record]:
    """The corpus with things to repair, to find and to drop in it."""
    from outcrop.data.records import with_texts

    found = records(format)
    found[3] = with_texts(found[3], [f"  {part.text} &amp; cafÃ©\x07  " for part in parts(found[3])])
    found[5] = found[4]
    return found


@pytest.mark.parametrize("name", list(STEPS))
def test_a_step_is_a_row_step_or_a_set_step_and_documents_itself(name: str) -> None:
    kind = STEPS.load(name)
    assert issubclass(kind, RowStep) != issubclass(kind, SetStep)
    assert issubclass(kind.spec_type, Spec)
    assert kind.__doc__
    for field, info in kind.spec_type.model_fields.items():
        assert info.description, field
    for code, meaning in {**kind.reasons, **kind.notes}.items():
        assert code == code.lower().replace("_", "-")
        assert meaning
    with pytest.raises(UsageError, match="Unknown parameter"):
        kind.spec_type.parse({"no_such_parameter": 1})


@pytest.mark.parametrize("format", KINDS)
@pytest.mark.parametrize("name", of_kind(RowStep))
def test_a_row_step_is_pure_and_says_all_it_does(name: str, format: str) -> None:
    step, again = build(name), pickle.loads(pickle.dumps(build(name)))
    for record in dirty(format):
        outcome = step(record)
        assert outcome == step(record) == again(record)
        assert (outcome.record is None) == (outcome.drop is not None)
        assert set(outcome.notes) <= set(step.notes)
        for change in outcome.changes:
            assert set(change.codes) <= set(step.notes)
        if outcome.drop is not None:
            assert outcome.drop.code in step.reasons
            continue
        assert outcome.record is not None
        assert (outcome.record.origin, outcome.record.fields) == (record.origin, record.fields)
        before, after = parts(record), parts(outcome.record)
        said = {change.field: change.after for change in outcome.changes}
        changed = {new.field: new.text for old, new in zip(before, after, strict=True) if old.text != new.text}
        assert said == changed, "every changed text is said, and nothing else"


@pytest.mark.parametrize("name", of_kind(RowStep))
def test_a_default_row_step_leaves_completions_as_they_are(name: str) -> None:
    if name == "anonymise":
        pytest.skip("personal data is masked in completions too; they are counted apart")
    for record in dirty("prompt-completion"):
        outcome = build(name)(record)
        assert outcome.record is None or answer_text(outcome.record) == answer_text(record)
        assert not any(is_answer(change.field) for change in outcome.changes)


@pytest.mark.parametrize("name", of_kind(SetStep))
def test_a_set_step_decides_on_rows_and_names_its_reasons(name: str) -> None:
    step = STEPS.load(name)()
    assert isinstance(step, SetStep)
    rows = dirty("prompt-completion")
    pickle.dumps(step.measure(rows))
    decision = step.apply(rows)
    assert decision.verdict.rows.tolist() == sorted(set(decision.verdict.rows.tolist()))
    assert set(decision.verdict.codes) <= set(step.reasons)
    assert set(decision.notes) <= set(step.notes)
    assert all(-1 <= like < len(rows) for like in decision.verdict.like.tolist())
    again = step.apply(rows)
    assert [*decision.verdict.entries()] == [*again.verdict.entries()]


def test_the_default_chain_is_of_the_catalog() -> None:
    assert set(DEFAULT_CHAIN) <= set(STEPS)
    assert list(DEFAULT_CHAIN) == [name for name in STEPS if name in DEFAULT_CHAIN]
