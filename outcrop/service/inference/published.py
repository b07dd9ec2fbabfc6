"""Published answers (`outcrop batch --publish`): taken instead of asking the model, where the same is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from outcrop.bodies.asks import Ask
from outcrop.core.completions import Completion
from outcrop.data.records import Message, Record, Text
from outcrop.generation.lookup import Lookup
from outcrop.models.asking import asked_record
from outcrop.models.folder import ModelFolder
from outcrop.models.rendering import Renderer

Files = tuple[tuple[str, int], ...]


class Published:
    """The tables of a folder, opened again when there are others than before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[Files, Lookup]] = {}
        self._lock = asyncio.Lock()

    @property
    def is_any(self) -> bool:
        """Whether anything was published."""
        return self._folder.is_dir()

    async def find(self, digest: str, folder: ModelFolder, renderer: Renderer, ask: Ask) -> Completion | None:
        """The answer that was published for this question and sampling, of this model as it is asked. A hit is counted
        in its table."""
        if ask.n > 1 or ask.logprobs or ask.echo:
            return None
        if ask.seed is None and ask.sampling.temperature:
            return None
        record = _record(renderer, folder, ask)
        if record is None:
            return None
        sampling = replace(ask.sampling, seed=ask.seed or 0)
        async with self._lock:
            return await asyncio.to_thread(lambda: self._lookup(digest).find(record, sampling))

    def close(self) -> None:
        """Let go of the files."""
        for _, lookup in self._open.values():
            lookup.close()
        self._open.clear()

    def _lookup(self, digest: str) -> Lookup:
        files = tuple((file.name, file.stat().st_ino) for file in sorted(self._folder.glob("*.sqlite")))
        if digest in self._open and self._open[digest][0] == files:
            return self._open[digest][1]
        self.close()
        self._open[digest] = files, Lookup(self._folder, digest)
        return self._open[digest][1]


def _record(renderer: Renderer, folder: ModelFolder, ask: Ask) -> Record | None:
    """The question as batches ask it; None for one that they cannot: token ids, templated texts, answers begun."""
    prompt = ask.prompt
    if isinstance(prompt, str):
        return None if renderer.special_tokens_in(Text(prompt)) else asked_record(folder, prompt)
    turns = [turn for turn in prompt if isinstance(turn, Message)]
    return asked_record(folder, turns) if turns and turns[-1].role != "assistant" else None
