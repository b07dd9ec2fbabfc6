"""Rows whose answer the student writes itself, at every step anew, and what its teacher says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.seeds import derive
from outcrop.data.records import Record
from outcrop.generation.cascade import engine_of
from outcrop.models.loading import LoadedModel
from outcrop.training.batches import Example
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.distillation.teaching import teach
from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import Segment
from outcrop.training.trunk import Trunk
from outcrop.workflows.students import Student, in_students_ids

TRUNK_TOKENS = 4096


@dataclass
class OwnAnswers:
    """A Renewal of training.loop: some rows of each step with an answer that the student draws then.

    sampler: another copy of the student, which gets its weights; teacher: the trunk that says how likely tokens were,
    in the dtype of the training from here on; records: the training rows; longest: tokens of an answer. Which rows, and
    what is drawn, is a pure function of the weights, the step and the seed, so that a run that goes on goes the same
    way.
    """

    student: Student
    sampler: LoadedModel
    engine: TrainingEngine
    teacher: Trunk
    records: Sequence[Record]
    objective: DistillationSpec
    longest: int
    seed: int

    def __post_init__(self) -> None:
        assert self.student.new_ids is not None, "the student has its teacher's tokenizer"
        self.teacher.model.to(self.engine.flat.compute.dtype)
        self._students = np.array(self.student.new_ids, np.int32)
        self._teachers = np.zeros(self._students.max() + 1, np.int32)
        known = np.flatnonzero(self._students >= 0)
        self._teachers[self._students[known]] = known

    def __call__(self, step: int, rows: Sequence[int], examples: list[Example]) -> list[Example]:
        """The examples of a step, those that are drawn with the student's own answer."""
        drawn = np.random.default_rng(derive(self.seed, "on policy", step)).random(len(rows))
        places = [place for place, chance in enumerate(drawn) if chance < self.objective.on_policy_share]
        answered = self._answer(step, [rows[place] for place in places]) if places else []
        said = self._explain(answered)
        renewed = list(examples)
        for place, segment in zip(places, said, strict=True):
            renewed[place] = (segment,)
        return renewed

    def _answer(self, step: int, rows: Sequence[int]) -> list[Segment]:
        """Prompt and drawn answer of each row, in the student's tokens."""
        self._take_weights()
        renderer, context = self.sampler.renderer, self.sampler.context
        requests = []
        for row in rows:
            prompt = tuple(renderer.prompt(self.records[row]))
            room = max(1, min(self.longest, context - len(prompt)))
            seed = derive(self.seed, "own answer", step, row)
            requests.append(CompletionRequest(
                prompt, Sampling(max_new_tokens=room, temperature=1.0, seed=seed, stop_ids=renderer.stop_ids)
            ))  # fmt: skip
        done = engine_of(self.sampler).complete(requests)
        return [
            Segment(
                np.array([*request.prompt_ids, *completion.token_ids], np.int32),
                np.r_[np.zeros(len(request.prompt_ids)), np.ones(len(completion.token_ids))].astype(np.float32),
            )
            for request, completion in zip(requests, done, strict=True)
        ]

    def _explain(self, answered: Sequence[Segment]) -> list[Segment]:
        """The same with the teacher's word, which reads them in its own tokens."""
        read = [Segment(self._teachers[segment.ids], segment.weights) for segment in answered]
        said = teach(self.teacher, read, self.objective.on_own_answers, TRUNK_TOKENS, self.seed)
        return [
            segment._replace(teaching=in_students_ids(teaching, self._students)._replace(own=True))
            for segment, teaching in zip(answered, said, strict=True)
        ]

    @torch.no_grad()
    def _take_weights(self) -> None:
        """The student as it is in this moment, in single precision."""
        weights = self.engine.flat.state()
        for name, parameter in self.sampler.model.named_parameters():
            parameter.copy_(weights[name])
