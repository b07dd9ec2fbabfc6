"""Requests as a stream: answers equal those of `complete`, a refused one fails alone, slots are never left empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outcrop.core.completions import Completion, CompletionRequest, Sampling
from outcrop.generation.batch.questions import Refusal
from outcrop.generation.batch.requests import answer_text, asked_text, outcome_from, packed, request_from
from outcrop.generation.batch.running import Pending, RequestStream
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from tests.support.tiny import tiny_model, tiny_tokenizer

SLOTS = 3


@pytest.fixture
def engine() -> EmbeddedEngine:
    return EmbeddedEngine(tiny_model(), tiny_tokenizer(), Capacity(slots=SLOTS, batch_tokens=200))


def requests(count: int = 20) -> list[CompletionRequest]:
    return [
        CompletionRequest(
            tuple(range(5, 30)) + (number % 7,) * (1 + number % 5),
            Sampling(max_new_tokens=1 + number % 9, temperature=float(number % 2), seed=number),
            n=1 + (number % 4 == 0),
        )
        for number in range(count)
    ]


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def said(completions: list[Completion]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(each.text, each.token_ids, each.finish_reason) for each in completions]


def test_answers_are_those_of_complete(engine: EmbeddedEngine) -> None:
    asked = requests()
    found = {
        each.key: each.outcome
        for done in RequestStream(engine).answers(Pending(key(n), request) for n, request in enumerate(asked))
        for each in done
    }
    assert len(found) == len(asked)
    engine.forget_prompts()
    for number, request in enumerate(asked):
        outcome = found[key(number)]
        assert not isinstance(outcome, Refusal)
        assert said(outcome) == said(engine.complete([request]))


def test_a_request_that_cannot_be_answered_is_refused_alone(engine: EmbeddedEngine) -> None:
    asked = requests(4)
    asked[1:1] = [CompletionRequest((9999,)), CompletionRequest((5,) * 300), CompletionRequest((5,), Sampling(top_p=0))]
    stream = RequestStream(engine).answers(Pending(key(n), request) for n, request in enumerate(asked))
    found = {each.key: each.outcome for done in stream for each in done}
    refused = {number for number in range(len(asked)) if isinstance(found[key(number)], Refusal)}
    assert refused == {1, 2, 3}
    assert all(outcome.status == 400 for outcome in found.values() if isinstance(outcome, Refusal))


def test_the_slots_stay_full_and_requests_are_read_as_they_are_needed(engine: EmbeddedEngine) -> None:
    asked, read = requests(30), 0

    def reading() -> Iterator[Pending]:
        nonlocal read
        for read, request in enumerate(asked, 1):
            yield Pending(key(read), request)

    answered = 0
    for done in RequestStream(engine).answers(reading()):
        answered += len(done)
        assert read - answered <= 2 * SLOTS
        if read < len(asked):
            assert read - answered >= 2 * SLOTS - len(done)
    assert answered == len(asked)


def test_leaving_early_frees_the_engine(engine: EmbeddedEngine) -> None:
    stream = RequestStream(engine).answers(Pending(key(n), request) for n, request in enumerate(requests()))
    next(stream)
    stream.close()
    engine.step()
    assert engine.scheduler.idle


def test_requests_and_answers_come_back_from_text(engine: EmbeddedEngine) -> None:
    sampling = Sampling(stop_ids=(2, 3), stop_strings=("a", "ü"), logit_bias=((5, -1.5),), top_logprobs=2, seed=2**62)
    request = CompletionRequest((1, 2**20, 3), sampling, n=2)
    assert request_from(packed(request.prompt_ids), asked_text(request)) == request
    [answer] = engine.complete([CompletionRequest((5, 6), Sampling(max_new_tokens=3, top_logprobs=2))])
    [back] = outcome_from(answer_text([answer]))
    assert (back.text, back.logprobs, back.top_logprobs) == (answer.text, answer.logprobs, answer.top_logprobs)
    assert outcome_from(answer_text(Refusal(400, "ü"))) == Refusal(400, "ü")
    assert sorted([(1, 300), (1, 2), (256,)]) == sorted([(256,), (1, 2), (1, 300)], key=packed)
