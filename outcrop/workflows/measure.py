"""A model's answers to test rows, and what they cost: the measured half of every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from outcrop.core.completions import Completion, CompletionRequest, Sampling, ScoreRequest
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.core.seeds import derive
from outcrop.data.records import Pair, Record, Text, answer_text, prompt_text
from outcrop.evaluation.comparison import Answered
from outcrop.evaluation.metrics.metric import Example
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import LoadedModel

TIMED_ROWS = 24
"""Rows answered one at a time, to measure latency and output tokens."""
SCORED_TOGETHER = 128


@dataclass(frozen=True)
class System:
    """What is measured: a model, and how many worked examples stand in its prompts."""

    name: str
    description: str
    loaded: LoadedModel
    shots: int = 0
    train_minutes: float | None = None


@dataclass(frozen=True)
class TestRows:
    """The rows, their closed label set if they have one, and the rows that worked examples are drawn from."""

    __test__ = False  # not a test class

    records: Sequence[Record]
    labels: tuple[str, ...] | None
    shot_pool: Sequence[Record] = ()


def measure(system: System, rows: TestRows, listener: Listener, *, seed: int = 0) -> Answered:
    """Answer every row: with a label set, the likeliest label (log-likelihood of all its tokens and of the end, in
    fp32); else greedy decoding. Latency is of greedy decoding, one row at a time."""
    if any(isinstance(record, Text) for record in rows.records):
        raise DataError("Text without answers cannot be evaluated by answers.", "Use pretrain's bits per byte.")
    engine = EmbeddedEngine(system.loaded.model, system.loaded.tokenizer)
    asked = with_shots(system, rows, seed)
    listener({"event": "stage", "title": f"Measuring {system.name}"})
    longest = _longest_answer(system.loaded, rows)
    answers = (
        _chosen(engine, system, asked, rows.labels, listener)
        if rows.labels
        else _generated(engine, system, asked, longest)
    )
    timed = _timed(engine, system, asked, longest, seed)
    examples = [
        Example(prompt_text(record), (answer_text(record).strip(),), answer, rows.labels)
        for record, answer in zip(rows.records, answers, strict=True)
    ]
    return Answered(
        system.name,
        system.description,
        tuple(examples),
        tuple(len(c.token_ids) for c in timed),
        tuple(1000 * c.seconds for c in timed),
        tuple(c.finish_reason == "stop" for c in timed),
        system.train_minutes,
    )


def with_shots(system: System, rows: TestRows, seed: int) -> list[Record]:
    """The rows as they are asked: worked examples are drawn anew for each row, fewer where the context is too short."""
    if not system.shots:
        return list(rows.records)
    pool = [record for record in rows.shot_pool if isinstance(record, Pair)]
    if len(pool) < system.shots:
        raise UsageError(
            f"{system.shots} worked examples need at least as many training pairs; there are {len(pool)}.",
            "Name training rows, or ask for fewer shots.",
        )
    asked: list[Record] = []
    for number, record in enumerate(rows.records):
        if not isinstance(record, Pair):
            raise UsageError(
                "Worked examples are put before prompts of pairs, not of conversations.",
                "Use --shots 0.",
                str(record.origin),
            )
        order = np.random.default_rng(derive(seed, "shots", number)).permutation(len(pool))[: system.shots]
        asked.append(_fitting(system, record, [pool[i] for i in order], rows))
    return asked


def _fitting(system: System, record: Pair, shots: list[Pair], rows: TestRows) -> Pair:
    room = system.loaded.context - _longest_answer(system.loaded, rows)
    while shots:
        joined = system.loaded.renderer.with_prefix(record, shots)
        if len(system.loaded.renderer.prompt(joined)) <= room:
            return joined
        shots = shots[1:]
    return record


def _longest_answer(loaded: LoadedModel, rows: TestRows) -> int:
    """Tokens of the longest reference, and some more."""
    if rows.labels:
        return max(len(loaded.renderer.answer(Pair("a", label), label)) for label in rows.labels)
    return 16 + max(len(loaded.renderer.answer(record, answer_text(record))) for record in rows.records)


def _chosen(
    engine: EmbeddedEngine, system: System, asked: list[Record], labels: Sequence[str], listener: Listener
) -> list[str]:
    renderer = system.loaded.renderer
    answers: list[str] = []
    for start in range(0, len(asked), SCORED_TOGETHER):
        part = asked[start : start + SCORED_TOGETHER]
        requests = [
            ScoreRequest(
                tuple(renderer.prompt(record)), tuple(tuple(renderer.answer(record, label)) for label in labels)
            )
            for record in part
        ]
        answers += [labels[int(np.argmax([s.logprob for s in scores]))] for scores in engine.score(requests)]
        listener({"event": "progress", "title": system.name, "done": len(answers), "total": len(asked)})
    return answers


def _generated(engine: EmbeddedEngine, system: System, asked: list[Record], longest: int) -> list[str]:
    return [
        completion.text.strip()
        for completion in engine.complete([_request(system, record, longest) for record in asked])
    ]


def _request(system: System, record: Record, longest: int) -> CompletionRequest:
    prompt = system.loaded.renderer.prompt(record)
    room = min(longest, system.loaded.context - len(prompt))
    return CompletionRequest(
        tuple(prompt), Sampling(max_new_tokens=max(1, room), stop_ids=system.loaded.renderer.stop_ids)
    )


def _timed(engine: EmbeddedEngine, system: System, asked: list[Record], longest: int, seed: int) -> list[Completion]:
    order = np.random.default_rng(derive(seed, "timed")).permutation(len(asked))[:TIMED_ROWS]
    return [engine.complete([_request(system, asked[i], longest)])[0] for i in order]
