"""The embedded engine's turns: python -m benchmarks.generation.sides.ours MODEL_FOLDER"""

from __future__ import annotations

import sys

import torch

from benchmarks.generation.sides.turns import Ids, Turn, take_turns, timed
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.models.loading import load_model


class Ours:
    """Prompts of a batch in one call; a step counts when all rows decode. Text of the answers is made, too."""

    def __init__(self, folder: str) -> None:
        torch.set_num_threads(1)
        loaded = load_model(folder, dtype=torch.bfloat16)
        self._engine = EmbeddedEngine(loaded.model, loaded.tokenizer, Capacity(prefix_tokens=0, batch_tokens=1 << 20))

    def __call__(self, prompts: Ids, steps: int) -> Turn:
        first: list[int] = []

        def prefill() -> None:
            sampling = Sampling(max_new_tokens=1)
            found = self._engine.complete([CompletionRequest(tuple(ids), sampling) for ids in prompts])
            first.extend(answer.token_ids[0] for answer in found)

        return Turn(timed(prefill), self._decode(prompts, steps), first)

    def _decode(self, prompts: Ids, steps: int) -> list[tuple[float, float]]:
        sampling = Sampling(max_new_tokens=steps + 2)
        requests = [CompletionRequest(tuple(ids), sampling) for ids in prompts]
        answers = [answer for request in requests for answer in self._engine.answers(request, "benchmark")]
        for answer in answers:
            self._engine.scheduler.submit(answer)
        times = []
        while not all(answer.finished for answer in answers):
            decoding = self._engine.scheduler.running == len(prompts)
            took = timed(self._engine.step)
            times += [took] if decoding else []
        return times


if __name__ == "__main__":
    take_turns(f"torch {torch.__version__}", Ours(sys.argv[1]))
