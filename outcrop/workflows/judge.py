"""A judge: a model that says why an answer is good or bad, and chooses one of a rubric's ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from outcrop.core.completions import CompletionRequest, Constraint, Sampling
from outcrop.core.errors import DataError
from outcrop.core.events import Listener
from outcrop.data.records import Message
from outcrop.evaluation.judging import Rubric
from outcrop.evaluation.metrics.metric import Example
from outcrop.generation.cascade import engine_of
from outcrop.models.asking import conversation_question
from outcrop.models.loading import load_model

TOGETHER = 32
WHY_TOKENS = 96
"""Longest explanation."""
RATING = "\nRating:"


class Rating(NamedTuple):
    """The value of a rating, and why."""

    value: float
    explanation: str


class Judge:
    """A model that judges. Its explanation comes first, and the rating is chosen in its light."""

    def __init__(self, model: str, listener: Listener) -> None:
        """Load it. Raises ModelError."""
        self._loaded = load_model(model)
        self._engine = engine_of(self._loaded)
        self._listener = listener

    def rate(self, rubric: Rubric, examples: Sequence[Example]) -> list[Rating]:
        """A rating of every answer. Raises DataError for rows that leave no room in the judge's context."""
        questions = [rubric.question(example) for example in examples]
        ratings: list[Rating] = []
        for start in range(0, len(questions), TOGETHER):
            part = questions[start : start + TOGETHER]
            why = self._answers([[Message("user", text)] for text in part], start, Sampling(WHY_TOKENS))
            turns = [
                [Message("user", text), Message("assistant", f"{reason.strip()}{RATING}")]
                for text, reason in zip(part, why, strict=True)
            ]
            chosen = Sampling(rubric.longest_bytes + 1, constraint=Constraint("choice", rubric.choice))
            words = self._answers(turns, start, chosen)
            found = zip(words, why, strict=True)
            ratings += [Rating(rubric.value_of(word), reason.strip()) for word, reason in found]
            title = f"Judging {rubric.name}"
            self._listener({"event": "progress", "title": title, "done": len(ratings), "total": len(questions)})
        return ratings

    def _answers(self, conversations: Sequence[Sequence[Message]], start: int, sampling: Sampling) -> list[str]:
        renderer, folder = self._loaded.renderer, self._loaded.folder
        asked = [conversation_question(renderer, folder, turns).prompt_ids for turns in conversations]
        room = self._loaded.context - sampling.max_new_tokens
        if long := [start + n for n, ids in enumerate(asked, 1) if len(ids) > room]:
            raise DataError(f"Rows {long[:50]} leave the judge no room for a rating.", "Shorten them.")
        options = Sampling(**{**vars(sampling), "stop_ids": renderer.stop_ids})
        return [answer.text for answer in self._engine.complete([CompletionRequest(ids, options) for ids in asked])]


class Judges:
    """The judges of a job, each loaded when it is first needed.

    given: by the shown name of a metric, its model, how that is called, and its rubric.
    """

    def __init__(self, given: Mapping[str, Mapping[str, Any]], listener: Listener) -> None:
        self._given, self._listener = given, listener
        self._judges: dict[str, Judge] = {}

    def __contains__(self, metric: str) -> bool:
        return metric in self._given

    def called(self, metric: str) -> str:
        """How the judge of a metric is called."""
        return str(self._given[metric]["identifier"])

    def rate(self, metric: str, examples: Sequence[Example]) -> tuple[Rubric, list[Rating]]:
        """What is judged, and the ratings."""
        given = self._given[metric]
        if given["model"] not in self._judges:
            self._judges[given["model"]] = Judge(given["model"], self._listener)
        rubric = Rubric.parse(given["rubric"])
        return rubric, self._judges[given["model"]].rate(rubric, examples)
