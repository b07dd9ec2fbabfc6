"""OpenVINO GenAI's turns: python -m benchmarks.generation.sides.openvino_genai FOLDER [bf16], which it exported before.

bf16: the type of keys and values, in place of the one that OpenVINO takes by itself.

With --export MODEL_FOLDER it only writes FOLDER: optimum-intel with transformers, which the turns do not need.
"""

from __future__ import annotations

import itertools
import subprocess
import sys

from benchmarks.generation.sides.turns import Ids, Turn, take_turns, timed


def export(model: str, folder: str) -> None:
    """In a process of its own, so that what it loads is not in the way later."""
    command = ["export", "openvino", "--model", model, "--task", "text-generation-with-past", folder]
    subprocess.run([sys.executable, "-m", "optimum.commands.optimum_cli", *command], check=True, stdout=2)


class OpenVino:
    """Its scheduler, asked step by step: the first computes all prompts. No prefix cache, no text of the answers."""

    def __init__(self, folder: str, cache: str) -> None:
        import openvino
        import openvino_genai

        self._tensor, self._config = openvino.Tensor, openvino_genai.GenerationConfig
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 1, 64, 1 << 20
        scheduler.enable_prefix_caching = False
        options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "bf16"}
        options |= {"KV_CACHE_PRECISION": cache} if cache else {}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", options)
        self._numbers = itertools.count()
        kept = cache or openvino.Core().get_property("CPU", "KV_CACHE_PRECISION").to_string()
        self.version = f"openvino-genai {openvino_genai.__version__}, keys and values in {kept}"

    def __call__(self, prompts: Ids, steps: int) -> Turn:
        import numpy as np

        config = self._config(max_new_tokens=steps + 1, ignore_eos=True, do_sample=False)
        handles = [
            self._pipeline.add_request(next(self._numbers), self._tensor(np.array([ids], np.int64)), config)
            for ids in prompts
        ]
        prefill = timed(self._pipeline.step)
        times = []
        while self._pipeline.has_non_finished_requests():
            times.append(timed(self._pipeline.step))
        first = [handle.read_all()[0].generated_ids[0] for handle in handles]
        return Turn(prefill, times, first)


if __name__ == "__main__":
    if "--export" in sys.argv:
        export(sys.argv[3], sys.argv[1])
    else:
        side = OpenVino(sys.argv[1], "".join(sys.argv[2:]))
        take_turns(side.version, side)
