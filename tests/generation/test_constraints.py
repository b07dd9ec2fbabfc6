"""Constrained answers have their form, whatever the model would rather say."""

from __future__ import annotations

import json
import re

import pytest
import torch

from outcrop.core.completions import CompletionRequest, Constraint, Sampling
from outcrop.core.errors import UsageError
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.sampling import Chooser, choose_tokens
from tests.generation.models import scripted_model
from tests.support.tiny import tiny_model, tiny_tokenizer

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 99}, "kind": {"enum": ["card", "fee"]}},
    "required": ["count", "kind"],
    "additionalProperties": False,
}


def _answers(constraint: Constraint, stop_ids: tuple[int, ...] = (2,)) -> list[tuple[str, str]]:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    samplings = [
        Sampling(max_new_tokens=60, temperature=temperature, seed=seed, stop_ids=stop_ids, constraint=constraint)
        for seed, temperature in enumerate((0.0, 1.0, 1.0, 2.0))
    ]
    completions = engine.complete([CompletionRequest((5, 6, 7), sampling) for sampling in samplings])
    return [(completion.text, completion.finish_reason) for completion in completions]


@pytest.mark.parametrize("stop_ids", [(2,), ()])
def test_a_choice_is_one_of_the_texts(stop_ids: tuple[int, ...]) -> None:
    choices = ["yes", "no", "perhaps. not (a+b)", "yes, but"]
    for text, reason in _answers(Constraint("choice", json.dumps(choices)), stop_ids):
        assert text in choices
        assert reason == "stop"


def test_a_regular_expression_is_matched_whole() -> None:
    for text, reason in _answers(Constraint("regex", "[0-9]{3}-[a-z]{1,4}x")):
        assert re.fullmatch("[0-9]{3}-[a-z]{1,4}x", text)
        assert reason == "stop"


def test_json_follows_its_schema() -> None:
    for text, reason in _answers(Constraint("json_schema", json.dumps(SCHEMA))):
        value = json.loads(text)
        assert value.keys() == {"count", "kind"}
        assert 0 <= value["count"] <= 99
        assert value["kind"] in ("card", "fee")
        assert reason == "stop"


@pytest.mark.parametrize(
    "text", ['{"count": 7, "kind": "fee"}', '{"count":7,"kind":"fee"}', ' {"count": 7, "kind": "fee"}']
)
def test_json_has_the_spaces_that_a_model_learnt(text: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    model = scripted_model(3, tuple(ids))
    sampling = Sampling(max_new_tokens=90, stop_ids=(2,), constraint=Constraint("json_schema", json.dumps(SCHEMA)))
    [found] = EmbeddedEngine(model, tokenizer).complete([CompletionRequest((5, 6, 7), sampling)])
    assert found.text == text


def test_white_space_does_not_fill_an_answer() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("{" + 40 * " ", add_special_tokens=False).input_ids
    sampling = Sampling(max_new_tokens=60, stop_ids=(2,), constraint=Constraint("json_schema", json.dumps(SCHEMA)))
    engine = EmbeddedEngine(scripted_model(3, tuple(ids)), tokenizer)
    [found] = engine.complete([CompletionRequest((5, 6, 7), sampling)])
    assert json.loads(found.text)["kind"] in ("card", "fee")
    assert "  " not in found.text


def test_a_form_that_leaves_no_token_fails_alone() -> None:
    logits, choosers = torch.zeros(2, 300), [Chooser(Sampling(temperature=1.0), ()) for _ in range(2)]
    choosers[0].grammar = Nothing()
    assert choose_tokens(logits, choosers).finite == [False, True]


class Nothing:
    """A form after which nothing may follow."""

    finished = False

    def forbid(self, logits_V: torch.Tensor) -> None:
        logits_V.fill_(-torch.inf)

    def accept(self, token: int) -> None:
        raise AssertionError


def test_a_constraint_hurts_no_neighbour() -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    free = CompletionRequest((5, 6, 7), Sampling(max_new_tokens=10))
    bound = CompletionRequest((5, 6, 7), Sampling(max_new_tokens=10, constraint=Constraint("choice", '["yes"]')))
    [alone] = engine.complete([free])
    first, second, third = engine.complete([bound, free, bound])
    assert second.token_ids == alone.token_ids
    assert first.text == third.text == "yes"


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Constraint("regex", "[0-9"), "The regex cannot be followed: .*unclosed character class"),
        (Constraint("json_schema", "{"), "The json_schema cannot be followed"),
        (Constraint("json_schema", '{"type": "nonsense"}'), "The json_schema cannot be followed: Invalid type"),
        (Constraint("choice", "[]"), "The choice cannot be followed: it is no list of texts"),
        (Constraint("choice", "yes"), "The choice cannot be followed"),
    ],
)
def test_a_definition_that_cannot_be_followed_is_named(constraint: Constraint, message: str) -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    with pytest.raises(UsageError, match=f"completion request 0: {message}"):
        engine.complete([CompletionRequest((5,), Sampling(constraint=constraint))])
