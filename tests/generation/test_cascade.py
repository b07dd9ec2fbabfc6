"""The engine of a cascade: every answer is the student's or the teacher's, by the rule, however it is asked."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from outcrop.core.completions import Completion, CompletionRequest, Sampling, ScoreRequest
from outcrop.core.engines import AdapterRef, ModelRef
from outcrop.core.errors import ModelError
from outcrop.generation.batch.running import Pending, RequestStream
from outcrop.generation.cascade import (
    CascadeEngine,
    CascadeScheduler,
    answer_probability,
    choice_probability,
    engine_of,
)
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import ServingEngine
from outcrop.generation.stopping import decode
from outcrop.models.cascade import Rule, TokenMap
from outcrop.models.loading import LoadedModel, load_model
from tests.support.cascades import tiny_student, write_tiny_cascade
from tests.support.tiny import tiny_model, tiny_tokenizer

LABELS = ("card", "fee", "refund money")
PROMPTS = [
    f"my card has {word} not arrived {number}"
    for number, word in enumerate(["yet", "and", "the", "fee", "of", "money"])
]


@pytest.fixture
def cascade(base: str, tmp_path: Path) -> LoadedModel:
    rule = Rule(threshold=0.5)
    return load_model(write_tiny_cascade(tmp_path / "cascade", base, answers=rule, choices=rule, labels=tuple(LABELS)))


def engine(cascade: LoadedModel, answers: float, choices: float = 1.0, slots: int = 3) -> CascadeEngine:
    """The cascade's engine with other thresholds."""
    assert cascade.student is not None
    assert cascade.rule is not None
    rule = cascade.rule.model_copy(update={"answers": Rule(threshold=answers), "choices": Rule(threshold=choices)})
    return CascadeEngine(cascade, cascade.student, rule, Capacity(slots=slots, batch_tokens=400))


def requests(**sampling: object) -> list[CompletionRequest]:
    options = Sampling(**{"max_new_tokens": 12, **sampling})  # type: ignore[arg-type]
    return [CompletionRequest(tuple(tiny_tokenizer()(text).input_ids), options) for text in PROMPTS]


def score_requests() -> list[ScoreRequest]:
    encode = tiny_tokenizer()
    candidates = tuple((*encode(label).input_ids, encode.eos_token_id) for label in LABELS)
    return [ScoreRequest(request.prompt_ids, candidates) for request in requests()]


def said(completions: list[Completion]) -> list[tuple[str, str]]:
    return [(each.text, each.finish_reason) for each in completions]


def students_alone(asked: list[CompletionRequest]) -> list[Completion]:
    student = tiny_student()
    tokens = TokenMap.of(tiny_tokenizer(), student.tokenizer)
    own = [CompletionRequest(tokens.students(each.prompt_ids) or (), each.sampling) for each in asked]
    return EmbeddedEngine(student.model, student.tokenizer).complete(own)


def test_threshold_0_is_the_student_alone(cascade: LoadedModel) -> None:
    asked = requests()
    found, alone = engine(cascade, 0.0).complete(asked), students_alone(asked)
    assert said(found) == said(alone)
    assert [each.logprobs for each in found] == [pytest.approx(each.logprobs, abs=1e-4) for each in alone]


def test_threshold_1_is_the_teacher_alone(cascade: LoadedModel) -> None:
    teacher = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    both = engine(cascade, 1.0)
    assert [each.token_ids for each in both.complete(requests())] == [
        each.token_ids for each in teacher.complete(requests())
    ]
    scores = [[s.logprob for s in each] for each in both.score(score_requests())]
    assert scores == [pytest.approx([s.logprob for s in each], abs=1e-4) for each in teacher.score(score_requests())]
    assert both.scout.engine.scheduler.computed_tokens == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_every_answer_is_one_of_the_two_by_the_rule(cascade: LoadedModel, share: float) -> None:
    ends = tuple(range(4, 300, 3))  # random models hardly ever end by themselves
    asked = [*requests(stop_ids=ends), *requests(stop_ids=ends, max_new_tokens=2), *requests(max_new_tokens=5)]
    alone = students_alone(asked)
    behind = EmbeddedEngine(tiny_model(), tiny_tokenizer()).complete(asked)
    sure = [answer_probability(each.logprobs, each.finish_reason == "stop") for each in alone]
    threshold = sorted(sure[: len(PROMPTS)])[round(share * (len(PROMPTS) - 1))] + 1e-6
    trusted = [Rule(threshold=threshold).trusts(value) for value in sure]
    assert 0 < sum(trusted) < len(trusted)
    both = engine(cascade, threshold)
    expected = [one if trust else other for one, other, trust in zip(alone, behind, trusted, strict=True)]
    assert said(both.complete(asked)) == said(expected)
    assert isinstance(both.scheduler, CascadeScheduler)
    assert (both.scheduler.given, both.scheduler.passed_on) == (sum(trusted), len(asked) - sum(trusted))
    assert both.scheduler.idle


def test_an_answer_that_did_not_end_is_not_sure() -> None:
    assert answer_probability([-0.1], finished=False) == answer_probability([], finished=True) == 0
    assert answer_probability([-1.0, -3.0], finished=True) == pytest.approx(math.exp(-2))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.6, 0.8])
def test_choices_are_scored_by_one_of_the_two(cascade: LoadedModel, threshold: float) -> None:
    asked = score_requests()
    one, other = engine(cascade, 1.0, 0.0).score(asked), engine(cascade, 1.0, 1.0).score(asked)
    rule = Rule(threshold=threshold)
    trusted = [rule.trusts(choice_probability(scores)) for scores in one]
    found = engine(cascade, 1.0, threshold).score(asked)
    expected = [a if trust else b for a, b, trust in zip(one, other, trusted, strict=True)]
    assert [[s.logprob for s in each] for each in found] == [
        pytest.approx([s.logprob for s in each], abs=1e-4) for each in expected
    ]


def test_other_candidates_than_the_labels_are_the_teachers(cascade: LoadedModel) -> None:
    asked = [ScoreRequest(each.prompt_ids, each.candidates[:2]) for each in score_requests()]
    found = engine(cascade, 0.0, 0.0).score(asked)
    expected = EmbeddedEngine(tiny_model(), tiny_tokenizer()).score(asked)
    assert [s.logprob for s in found[0]] == pytest.approx([s.logprob for s in expected[0]], abs=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 1.0, "seed": 3}, {"repetition_penalty": 1.5}, {"logit_bias": ((7, 5.0),)}],
    ids=["drawn", "penalty", "bias"],
)
def test_what_the_rule_was_not_set_on_is_the_teachers(cascade: LoadedModel, sampling: dict[str, object]) -> None:
    asked = requests(**sampling)
    expected = EmbeddedEngine(tiny_model(), tiny_tokenizer()).complete(asked)
    assert said(engine(cascade, 0.0).complete(asked)) == said(expected)


def test_streams_and_likeliest_tokens_are_in_the_teachers_tokens(cascade: LoadedModel) -> None:
    (request,) = requests(top_logprobs=3)[:1]
    both = engine(cascade, 0.0)
    (whole,) = both.complete([request])
    assert "".join(both.stream(request)) == whole.text
    assert decode(tiny_tokenizer(), whole.token_ids) == whole.text
    assert [len(top) for top in whole.top_logprobs] == [3] * len(whole.token_ids)
    assert all(token == top[0][0] for token, top in zip(whole.token_ids, whole.top_logprobs, strict=True))


def test_batches_and_servers_answer_as_complete_does(cascade: LoadedModel, tmp_path: Path) -> None:
    asked = requests() * 3
    expected = said(engine(cascade, 0.2).complete(asked))
    pending = (Pending(number.to_bytes(4, "big"), request) for number, request in enumerate(asked))
    found = {each.key: each.outcome for done in RequestStream(engine(cascade, 0.2)).answers(pending) for each in done}
    assert [said([*found[number.to_bytes(4, "big")]]) for number in range(len(asked))] == [[e] for e in expected]  # type: ignore[misc]

    async def served() -> list[str]:
        server = ServingEngine(Capacity(slots=3))
        await server.load(ModelRef(cascade.folder.name, "float32"))
        try:
            assert (await server.health(30)).ready
            events = [[e async for e in server.generate(request)] for request in asked[:4]]
            assert (await server.stats()).waiting == 0
            return ["".join(event.text for event in each) for each in events]
        finally:
            await server.close()

    own = [text for text, _ in said(engine_of(cascade).complete(asked[:4]))]
    assert asyncio.run(served()) == own


def test_cancelled_requests_leave_nothing(cascade: LoadedModel) -> None:
    both = engine(cascade, 0.0)
    pieces = both.stream(requests(max_new_tokens=200)[0])
    tasks = both.answers(requests(max_new_tokens=200)[1], "")
    both.scheduler.submit(tasks[0])
    both.step()
    tasks[0].cancelled = True
    both.step()
    assert both.scheduler.idle
    assert both.scout.engine.scheduler.idle
    assert next(pieces)


def test_adapters_are_refused(cascade: LoadedModel) -> None:
    with pytest.raises(ModelError, match="takes no adapters"):
        engine(cascade, 0.0).add_adapter(AdapterRef("x", "sha256:0"))
