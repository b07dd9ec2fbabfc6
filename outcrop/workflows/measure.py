"""A model's answers to test rows, and what they cost: the measured half of every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from outcrop.core.completions import Completion, CompletionRequest, Sampling, ScoreRequest
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.core.seeds import derive
from outcrop.core.spec import Resolved
from outcrop.data.records import Pair, Record, Text, answer_text, prompt_text
from outcrop.evaluation.comparison import Answered
from outcrop.evaluation.metrics.metric import Example
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import LoadedModel

TIMED_ROWS = 24
"""Rows answered one at a time, to measure latency and output tokens."""
SCORED_TOGETHER = 128
GENERATED_TOGETHER = 64
MARGIN_TOKENS = 16
"""Room beyond the longest reference, for open answers."""


@dataclass(frozen=True)
class TestRows:
    """The rows, their closed label set if they have one, and the rows that worked examples are drawn from."""

    __test__ = False  # not a test class

    records: Sequence[Record]
    labels: tuple[str, ...] | None
    shot_pool: Sequence[Record] = ()


@dataclass(frozen=True)
class Asked:
    """The rows as a model is asked them, and how many worked examples stand before each."""

    records: list[Record]
    shots: list[int]
    wanted: int

    @property
    def short(self) -> int:
        """How many rows have fewer worked examples than wanted, because the context has no room for more."""
        return sum(count < self.wanted for count in self.shots)


@dataclass(frozen=True)
class System:
    """What is measured: a model, and the rows as it is asked them."""

    name: str
    description: str
    loaded: LoadedModel
    asked: Asked
    train_minutes: float | None = None

    @classmethod
    def of(
        cls, name: str, description: str, loaded: LoadedModel, asked: Asked, train_minutes: float | None = None
    ) -> System:
        """A system whose name and description say so where worked examples did not all fit."""
        if asked.short:
            name += " at most"
            description += f"; {asked.short:,} of {len(asked.shots):,} rows have room for fewer"
        return cls(name, description, loaded, asked, train_minutes)


def measure(system: System, rows: TestRows, listener: Listener, *, seed: int = 0) -> Answered:
    """Answer every row: with a label set, the likeliest label (log-likelihood of all its tokens and of the end, in
    fp32); else greedy decoding. Latency is of greedy decoding, one row at a time."""
    engine = engine_of(system.loaded)
    asked = system.asked.records
    listener({"event": "stage", "title": f"Measuring {system.name}"})
    longest = longest_answer(system.loaded, rows)
    answers = (
        _chosen(engine, system, asked, rows.labels, listener)
        if rows.labels
        else _generated(engine, system, asked, longest, listener)
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


def ask(loaded: LoadedModel, rows: TestRows, shots: int, seed: int) -> Asked:
    """The rows as they are asked: worked examples are drawn anew for each row, fewer where the context is too short.

    Raises DataError for text without answers, UsageError where worked examples cannot be given.
    """
    if any(isinstance(record, Text) for record in rows.records):
        raise DataError("Text without answers cannot be evaluated by answers.", "Use pretrain's bits per byte.")
    if not shots:
        return Asked(list(rows.records), [0] * len(rows.records), 0)
    pool = [record for record in rows.shot_pool if isinstance(record, Pair)]
    if len(pool) < shots:
        raise UsageError(
            f"{shots} worked examples need at least as many training pairs; there are {len(pool)}.",
            "Name training rows, or ask for fewer shots.",
        )
    room = loaded.context - longest_answer(loaded, rows)
    asked: list[Record] = []
    counts = []
    for number, record in enumerate(rows.records):
        if not isinstance(record, Pair):
            raise UsageError(
                "Worked examples are put before prompts of pairs, not of conversations.",
                "Use --shots 0.",
                str(record.origin),
            )
        chosen = _fitting(loaded, record, worked_examples(pool, shots, seed, number), room)
        counts.append(len(chosen))
        asked.append(loaded.renderer.with_prefix(record, chosen) if chosen else record)
    return Asked(asked, counts, shots)


def worked_examples(pool: Sequence[Pair], shots: int, seed: int, number: int) -> list[Pair]:
    """The worked examples of test row `number`: a pure function of pool, seed and number."""
    order = np.random.default_rng(derive(seed, "shots", number)).permutation(len(pool))[:shots]
    return [pool[i] for i in order]


def account(systems: Sequence[System], rows: TestRows) -> tuple[Resolved, ...]:
    """How answers are made, and where that came from."""
    tokens = max(longest_answer(system.loaded, rows) for system in systems)
    if rows.labels:
        way, source = "likeliest label", f"data: {len(rows.labels)} labels"
        longest = f"data: the longest of {len(rows.labels)} labels"
    else:
        way, source = "greedy decoding", "data: open answers"
        longest = f"data: the longest reference answer and {MARGIN_TOKENS} more"
    timed = min(TIMED_ROWS, len(rows.records))
    return (
        Resolved("answers", way, source),
        Resolved("max_new_tokens", tokens, longest),
        Resolved("rows_timed", timed, "default"),
    )


def longest_answer(loaded: LoadedModel, rows: TestRows) -> int:
    """Tokens that an answer may have: those of the longest label, or of the longest reference and some more."""
    if rows.labels:
        return max(len(loaded.renderer.answer(Pair("a", label), label)) for label in rows.labels)
    return MARGIN_TOKENS + max(len(loaded.renderer.answer(record, answer_text(record))) for record in rows.records)


def _fitting(loaded: LoadedModel, record: Pair, shots: list[Pair], room: int) -> list[Pair]:
    """The last of the shots, as many as fit before the record's prompt in `room` tokens."""
    while shots and len(loaded.renderer.prompt(loaded.renderer.with_prefix(record, shots))) > room:
        shots = shots[1:]
    return shots


def _chosen(
    engine: EmbeddedEngine, system: System, asked: list[Record], labels: Sequence[str], listener: Listener
) -> list[str]:
    renderer = system.loaded.renderer
    answers: list[str] = []
    for start in range(0, len(asked), SCORED_TOGETHER):
        part = asked[start : start + SCORED_TOGETHER]
        requests = [ScoreRequest(tuple(renderer.prompt(record)), renderer.answers(record, labels)) for record in part]
        answers += [labels[index] for index in engine.likeliest(requests)]
        listener({"event": "progress", "title": system.name, "done": len(answers), "total": len(asked)})
    return answers


def _generated(
    engine: EmbeddedEngine, system: System, asked: list[Record], longest: int, listener: Listener
) -> list[str]:
    answers: list[str] = []
    for start in range(0, len(asked), GENERATED_TOGETHER):
        requests = [_request(system, record, longest) for record in asked[start : start + GENERATED_TOGETHER]]
        answers += [completion.text.strip() for completion in engine.complete(requests)]
        listener({"event": "progress", "title": system.name, "done": len(answers), "total": len(asked)})
    return answers


def _request(system: System, record: Record, longest: int) -> CompletionRequest:
    prompt = system.loaded.renderer.prompt(record)
    room = min(longest, system.loaded.context - len(prompt))
    return CompletionRequest(
        tuple(prompt), Sampling(max_new_tokens=max(1, room), stop_ids=system.loaded.renderer.stop_ids)
    )


def _timed(engine: EmbeddedEngine, system: System, asked: list[Record], longest: int, seed: int) -> list[Completion]:
    order = np.random.default_rng(derive(seed, "timed")).permutation(len(asked))[:TIMED_ROWS]
    timed = []
    for i in order:
        # All these prompts were just computed; a latency that leaves that out would be no user's.
        engine.forget_prompts()
        timed += engine.complete([_request(system, asked[i], longest)])
    return timed
