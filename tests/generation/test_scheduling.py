"""The scheduler: who is admitted, what a step computes, and that no one's going changes what the others get."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.generation import scheduling
from outcrop.generation.answers import Answer, Task
from outcrop.generation.attention import DecodeAttention
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import BUCKETS, Capacity
from tests.support.tiny import tiny_model, tiny_tokenizer

PIECE = 16
LONG = tuple(range(20, 220))


def engine(**capacity: int) -> EmbeddedEngine:
    return EmbeddedEngine(tiny_model(), tiny_tokenizer(), Capacity(**capacity))


def submitted(made: EmbeddedEngine, request: CompletionRequest) -> Answer:
    [answer] = made.answers(request, "")
    made.scheduler.submit(answer)
    return answer


def scoring(made: EmbeddedEngine, request: ScoreRequest) -> Task:
    task = made.scoring(request, "")
    made.scheduler.submit(task)
    return task


def finish(made: EmbeddedEngine) -> None:
    while not made.scheduler.idle:
        made.step()


def alone(requests: Sequence[CompletionRequest]) -> list[tuple[int, ...]]:
    made = engine(prefix_tokens=0)
    return [made.complete([request])[0].token_ids for request in requests]


def requests(count: int, seed: int = 0) -> list[CompletionRequest]:
    stream = random.Random(seed)
    return [
        CompletionRequest(
            tuple(stream.choices(range(4, 300), k=stream.randint(1, 60))),
            Sampling(max_new_tokens=stream.randint(1, 20), temperature=number % 2, seed=number),
        )
        for number in range(count)
    ]


def test_answers_go_on_while_a_long_prompt_is_read_in_pieces() -> None:
    made = engine(chunk_tokens=PIECE)
    asked = [CompletionRequest(prompt, Sampling(max_new_tokens=size)) for prompt, size in (((5, 6), 60), (LONG, 5))]
    running = submitted(made, asked[0])
    made.step()
    late = submitted(made, asked[1])
    steps = 0
    while not late.token_ids:
        written, computed = len(running.token_ids), made.scheduler.computed_tokens
        made.step()
        steps += 1
        assert len(running.token_ids) == written + 1
        assert made.scheduler.computed_tokens - computed <= PIECE + len(made.scheduler.rows)
    assert steps == -(-len(LONG) // PIECE)
    finish(made)
    assert [tuple(answer.token_ids) for answer in (running, late)] == alone(asked)


@pytest.mark.parametrize("slots", [1, 3, 32])
@pytest.mark.parametrize("batch_tokens", [1, 90, 400])
def test_no_more_is_admitted_than_the_budget_and_the_slots_hold(slots: int, batch_tokens: int) -> None:
    made, asked = engine(slots=slots, batch_tokens=batch_tokens), requests(20)
    answers = [submitted(made, request) for request in asked]
    while not made.scheduler.idle:
        made.step()
        scheduler = made.scheduler
        assert scheduler.working <= slots
        assert scheduler.used_tokens <= batch_tokens or scheduler.working == 1
    assert [tuple(answer.token_ids) for answer in answers] == alone(asked)


@pytest.mark.parametrize("slots", [5, 32])
def test_decoding_steps_have_few_different_numbers_of_rows(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()

    class Noted(DecodeAttention):
        def __init__(self, slots: Any, lengths: Sequence[int]) -> None:
            seen.add(len(lengths))
            super().__init__(slots, lengths)

    monkeypatch.setattr(scheduling, "DecodeAttention", Noted)
    made = engine(slots=slots)
    answers = [submitted(made, request) for request in requests(40)]
    finish(made)
    assert all(answer.finished for answer in answers)
    assert seen <= {*BUCKETS, slots}
    assert max(seen) == slots


PHASES: dict[str, Callable[[EmbeddedEngine], Task]] = {
    "not looked at": lambda made: submitted(made, CompletionRequest(LONG)),
    "waiting": lambda made: submitted(made, CompletionRequest(LONG)),
    "reading": lambda made: submitted(made, CompletionRequest(LONG)),
    "answering": lambda made: submitted(made, CompletionRequest((7, 8), Sampling(max_new_tokens=200))),
    "reading to score": lambda made: scoring(made, ScoreRequest(LONG, ((7, 8), (9, 10)))),
    "scoring": lambda made: scoring(
        made, ScoreRequest((7, 8), tuple((token, *range(5, 5 + 60)) for token in range(10, 16)))
    ),
}
STEPS = {"not looked at": 0, "waiting": 1, "reading": 2, "answering": 3, "reading to score": 2, "scoring": 2}


@pytest.mark.parametrize("phase", PHASES)
def test_who_leaves_frees_its_place_in_every_phase(phase: str) -> None:
    made = engine(slots=1 if phase == "waiting" else 3, chunk_tokens=PIECE, prefix_tokens=0)
    others = [CompletionRequest((5, 6), Sampling(max_new_tokens=30)), CompletionRequest(LONG[::-1])]
    neighbours = [submitted(made, others[0])]
    leaver = PHASES[phase](made)
    neighbours.append(submitted(made, others[1]))
    for _ in range(STEPS[phase]):
        made.step()
    scheduler = made.scheduler
    held = [row for row in scheduler.rows if row.task is leaver]
    assert len(held) == (phase not in ("not looked at", "waiting"))
    assert not leaver.finished
    if "reading" in phase:
        assert 0 < held[0].length < len(LONG)
    leaver.cancelled = True
    with torch.inference_mode():
        scheduler.drop_cancelled()
    assert all(row.task is not leaver for row in scheduler.rows)
    assert leaver not in scheduler.waiting
    assert scheduler.used_tokens <= sum(len(each.prompt_ids) + each.room for each in neighbours)
    finish(made)
    assert [tuple(answer.token_ids) for answer in neighbours] == alone(others)


@pytest.mark.parametrize("seed", range(4))
def test_answers_do_not_depend_on_who_comes_and_goes(seed: int) -> None:
    stream, asked = random.Random(seed), requests(30, seed)
    made = engine(slots=stream.choice([2, 5, 9]), batch_tokens=stream.choice([100, 400]), chunk_tokens=PIECE)
    answers: list[Answer] = []
    while len(answers) < len(asked) or not made.scheduler.idle:
        coming = asked[len(answers) : len(answers) + stream.randint(0, 3)]
        answers += [submitted(made, request) for request in coming]
        if answers and stream.random() < 0.3:
            stream.choice(answers).cancelled = True
        made.step()
    stayed = [number for number, answer in enumerate(answers) if not answer.cancelled or answer.finish_reason]
    assert 5 < len(stayed) <= len(asked)
    expected = alone([asked[number] for number in stayed])
    assert [tuple(answers[number].token_ids) for number in stayed] == expected


def test_a_step_that_fails_fails_its_rows_and_the_next_ones_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(slots=2)
    answers = [submitted(made, request) for request in requests(3)]
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(made.trunk, "logits", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.step()
    assert [answer.error is not None for answer in answers] == [True, True, False]
    assert "ZeroDivisionError" in str(answers[0].error)
    finish(made)
    assert tuple(answers[2].token_ids) == alone(requests(3)[2:])[0]
