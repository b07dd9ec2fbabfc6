"""Two models as one engine: the student answers what it is sure of, the teacher what the student is not.

The student writes or scores first, in its own tokens. What it is trusted with is the answer, in the teacher's tokens;
anything else is answered by the teacher as if there were no student.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from outcrop.core.completions import CompletionRequest, Sampling, Score, ScoreRequest
from outcrop.core.engines import AdapterRef
from outcrop.core.errors import ModelError, UserError
from outcrop.generation.answers import Answer, Task
from outcrop.generation.choosing import shares
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity, Scheduler
from outcrop.generation.scoring import Scoring
from outcrop.generation.stopping import decode
from outcrop.generation.trunk import Trunk
from outcrop.models.cascade import CascadeSpec, TokenMap
from outcrop.models.loading import LoadedModel

TOGETHER = 8
"""Requests that the teacher is given at once, while the student is at work: its weights are read once for all."""
PATIENCE = 32
"""Steps of the student that a request waits for such company."""


def engine_of(
    loaded: LoadedModel, capacity: Capacity | None = None, *, base_digest: str | None = None
) -> EmbeddedEngine:
    """The engine of a model, or of a cascade."""
    if loaded.student is None or loaded.rule is None:
        closing, endings = loaded.renderer.spec.label_tokens.values(), loaded.renderer.endings
        return EmbeddedEngine(loaded.model, loaded.tokenizer, capacity, base_digest=base_digest, closing=closing,
                              endings=endings)  # fmt: skip
    return CascadeEngine(loaded, loaded.student, loaded.rule, capacity)


def answer_probability(logprobs: Sequence[float], finished: bool) -> float:
    """The geometric mean of an answer's token probabilities; 0 for one that did not end."""
    return math.exp(sum(logprobs) / len(logprobs)) if finished and logprobs else 0.0


def choice_probability(scores: Sequence[Score]) -> float:
    """The likeliest candidate's share of all candidates' likelihood."""
    return float(shares(np.array([score.logprob for score in scores])).max())


class CascadeEngine(EmbeddedEngine):
    """As EmbeddedEngine, in the teacher's tokens. Greedy answers without constraint or bias, and choices among the
    labels of the rule, may be the student's; all else is the teacher's."""

    def __init__(
        self, teacher: LoadedModel, student: LoadedModel, rule: CascadeSpec, capacity: Capacity | None = None
    ) -> None:
        """Raises ModelError for a student with tokens of its own, or what EmbeddedEngine refuses."""
        closing, endings = teacher.renderer.spec.label_tokens.values(), teacher.renderer.endings
        super().__init__(teacher.model, teacher.tokenizer, capacity, closing=closing, endings=endings)
        self.scout = Scout(teacher, student, rule, self.scheduler.capacity)
        self.scheduler = CascadeScheduler(self.trunk, self.scheduler.capacity, self._limits.vocabulary, self.scout)

    def add_adapter(self, adapter: AdapterRef) -> None:
        """Raises ModelError: what an adapter changes, the rule was not set for."""
        raise ModelError("A cascade takes no adapters.", "Load the adapter's own base.", adapter.name)

    def likeliest(self, requests: Sequence[ScoreRequest]) -> list[int]:
        """By all scores of each request: the rule is for whole sets of labels."""
        scored = self.score(requests)
        return [max(range(len(scores)), key=lambda index: scores[index].logprob) for scores in scored]

    def forget_prompts(self) -> None:
        """Drop what either model computed for earlier prompts."""
        super().forget_prompts()
        self.scout.engine.forget_prompts()


class Scout:
    """The student and the rule: what it is asked first, and what becomes of its answer."""

    def __init__(self, teacher: LoadedModel, student: LoadedModel, rule: CascadeSpec, capacity: Capacity) -> None:
        self.engine = EmbeddedEngine(student.model, student.tokenizer, capacity)
        self.rule = rule
        self._tokens = TokenMap.of(teacher.tokenizer, student.tokenizer)
        self._tokenizer = teacher.tokenizer
        self._known: dict[tuple[tuple[int, ...], ...], bool] = {}

    def sent(self, task: Task) -> Answer | Scoring | None:
        """The student's task for a request; None for one that is the teacher's from the start."""
        try:
            if isinstance(task, Answer) and self.rule.answers.threshold < 1 and _is_plain(task.sampling):
                return self._answer(task)
            if isinstance(task, Scoring) and self._chooses(task):
                return self._choice(task)
        except UserError:  # longer in the student's tokens than its context: the teacher will say what is wrong, if any
            return None
        return None

    def trusts(self, done: Answer | Scoring) -> bool:
        """Whether what the student made is given."""
        if done.error is not None or done.cancelled:
            return False
        if isinstance(done, Answer):
            return self.rule.answers.trusts(answer_probability(done.logprobs, done.finish_reason == "stop"))
        return self.rule.choices is not None and self.rule.choices.trusts(choice_probability(done.scores()))

    def give(self, done: Answer | Scoring, task: Task) -> None:
        """Make the student's answer that of the request."""
        task.begin(done.cached_tokens)
        task.started = done.started
        if isinstance(task, Scoring) and isinstance(done, Scoring):
            task.take(done.scores())
        elif isinstance(task, Answer) and isinstance(done, Answer):
            tops = done.top_logprobs or ((),) * len(done.token_ids)
            for token, logprob, top in zip(done.token_ids, done.logprobs, tops, strict=True):
                named = tuple((self._tokens.to_teacher[other], value) for other, value in top)
                task.accept(self._tokens.to_teacher[token], logprob, named)
            if not task.finished:
                task.end("length")

    def _answer(self, task: Answer) -> Answer | None:
        prompt = self._tokens.students(task.prompt_ids)
        if prompt is None:
            return None
        stops = (self._tokens.to_student.get(token, ()) for token in task.sampling.stop_ids)
        sampling = replace(task.sampling, stop_ids=tuple(ids[0] for ids in stops if len(ids) == 1))
        (answer,) = self.engine.answers(CompletionRequest(prompt, sampling), "")
        return answer

    def _choice(self, task: Scoring) -> Scoring | None:
        prompt = self._tokens.students(task.prompt_ids)
        candidates = [self._tokens.students(candidate) for candidate in task.candidates]
        if prompt is None or None in candidates:
            return None
        return self.engine.scoring(ScoreRequest(prompt, tuple(ids for ids in candidates if ids is not None)), "")

    def _chooses(self, task: Scoring) -> bool:
        """Whether the candidates are the labels."""
        if self.rule.choices is None or self.rule.choices.threshold == 1:
            return False
        if task.candidates not in self._known:
            texts = sorted(decode(self._tokenizer, ids).strip() for ids in task.candidates)
            self._known[task.candidates] = texts == sorted(label.strip() for label in self.rule.labels)
        return self._known[task.candidates]


class CascadeScheduler(Scheduler):
    """The teacher's scheduler with the student's before it. given: requests that the student answered."""

    def __init__(self, trunk: Trunk, capacity: Capacity, vocabulary: int, scout: Scout) -> None:
        super().__init__(trunk, capacity, vocabulary)
        self._scout, self._students = scout, scout.engine.scheduler
        self._sent: dict[Task, Answer | Scoring] = {}
        self._patience = 0
        self.given = self.passed_on = 0

    @property
    def idle(self) -> bool:
        """Whether neither has anything to do."""
        return super().idle and self._students.idle

    @property
    def working(self) -> int:
        """Tasks that have a slot, of either."""
        return super().working + self._students.working

    def uses(self, adapter: str) -> bool:
        """No adapter can be loaded."""
        return False

    def submit(self, task: Task) -> None:
        """Send a task to the student, if it may answer it."""
        sent = self._scout.sent(task) if task.adapter is None else None
        if sent is None:
            super().submit(task)
            return
        self._sent[task] = sent
        sent.on_change = partial(self._look_at, task, sent)
        self._students.submit(sent)

    def step(self) -> None:
        """A step of the student, and one of the teacher where it has enough to do, or has waited for it."""
        self._drop()
        if not self._students.idle:
            before = self._students.computed_tokens, self._students.prefix_tokens
            self._students.step()
            self.computed_tokens += self._students.computed_tokens - before[0]
            self.prefix_tokens += self._students.prefix_tokens - before[1]
        queued = len(self._inbox) + len(self.waiting)
        self._patience = self._patience + 1 if queued and not self.rows else 0
        if self.rows or self._students.idle or queued >= TOGETHER or self._patience > PATIENCE:
            self._patience = 0
            super().step()

    def drop_cancelled(self) -> None:
        """Free what cancelled tasks hold, of either."""
        self._drop()
        self._students.drop_cancelled()
        super().drop_cancelled()

    def _drop(self) -> None:
        for task, sent in [(task, sent) for task, sent in self._sent.items() if task.finished]:
            sent.cancelled = True
            del self._sent[task]

    def _look_at(self, task: Task, sent: Answer | Scoring) -> None:
        """Called after every step that changed the student's task."""
        if not sent.finished or self._sent.pop(task, None) is None or task.finished:
            return
        if self._scout.trusts(sent):
            self._scout.give(sent, task)
            self.given += 1
            self.generated_tokens += len(task.token_ids) if isinstance(task, Answer) else 0
            task.notify()
        else:
            self.passed_on += 1
            super().submit(task)


def _is_plain(sampling: Sampling) -> bool:
    """Greedy, from the model's own distribution: what the rule was set on."""
    return (
        sampling.temperature == 0
        and sampling.repetition_penalty == 1
        and sampling.constraint is None
        and not sampling.logit_bias
    )
