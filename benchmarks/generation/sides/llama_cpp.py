"""llama.cpp's turns: python -m benchmarks.generation.sides.llama_cpp FILE.gguf, which it wrote before.

With --export MODEL_FOLDER it only writes the file.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from benchmarks.generation.sides.turns import CONTEXT, Ids, Turn, take_turns, timed


class Batch:
    """A context for so many rows, with a cache of keys and values of its own (f16, as llama.cpp has it)."""

    def __init__(self, library: Any, model: Any, rows: int, length: int) -> None:
        options = library.llama_context_default_params()
        options.n_ctx, options.n_seq_max = CONTEXT * rows, rows
        options.n_batch, options.n_ubatch = max(512, rows * length), 512
        options.n_threads = options.n_threads_batch = 1
        self._library, self._vocabulary = library, library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        self._context = library.llama_init_from_model(model, options)
        self._batch = library.llama_batch_init(options.n_batch, 0, 1)

    def decode(self, ids: Ids, position: int) -> list[int]:
        """Compute tokens of every row from a position on; the likeliest token after each row."""
        at, ends = 0, []
        for row, tokens in enumerate(ids):
            for offset, token in enumerate(tokens):
                self._batch.token[at], self._batch.pos[at] = token, position + offset
                self._batch.n_seq_id[at], self._batch.seq_id[at][0] = 1, row
                self._batch.logits[at] = offset == len(tokens) - 1
                at += 1
            ends.append(at - 1)
        self._batch.n_tokens = at
        if self._library.llama_decode(self._context, self._batch):
            raise RuntimeError("llama_decode failed")
        return [self._likeliest(end) for end in ends]

    def clear(self) -> None:
        """Forget all rows."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _likeliest(self, at: int) -> int:
        import numpy as np

        logits = self._library.llama_get_logits_ith(self._context, at)
        return int(np.ctypeslib.as_array(logits, (self._vocabulary,)).argmax())


class LlamaCpp:
    """The low-level interface: one llama_decode for all prompts, and one for each step of all rows."""

    def __init__(self, file: str) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._silence = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp does not read {file}")
        self._batches: dict[int, Batch] = {}
        self.version = f"llama-cpp-python {llama_cpp.__version__}, keys and values in f16"

    def __call__(self, prompts: Ids, steps: int) -> Turn:
        rows, length = len(prompts), len(prompts[0])
        if rows not in self._batches:
            self._batches[rows] = Batch(self._library, self._model, rows, length)
        batch, tokens = self._batches[rows], [0] * rows

        def decode(ids: Ids, position: int) -> None:
            tokens[:] = batch.decode(ids, position)

        batch.clear()
        prefill = timed(lambda: decode(prompts, 0))
        first = list(tokens)
        times = [timed(lambda at=length + step: decode([[each] for each in tokens], at)) for step in range(steps)]
        return Turn(prefill, times, first)


if __name__ == "__main__":
    if "--export" in sys.argv:
        from benchmarks.generation.sides.gguf_file import write

        write(sys.argv[3], sys.argv[1])
    else:
        side = LlamaCpp(sys.argv[1])
        take_turns(side.version, side)
