"""How fast `outcrop batch` is with a model that is in memory already: from a file of prompts to one of answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from outcrop.core.completions import Sampling
from outcrop.core.events import ignore
from outcrop.data.certificate import FORMAT_OF, line_of
from outcrop.data.records import Record, answer_text
from outcrop.generation.batch.bodies import body_reader
from outcrop.generation.batch.job import BatchJob
from outcrop.generation.batch.predictions import PredictionCache
from outcrop.generation.batch.questions import Question, Responder
from outcrop.generation.batch.requests import Asker, Identity, KeyedRequest
from outcrop.generation.batch.rows import InputFile, Reading
from outcrop.generation.batch.running import Answered, Pending, RequestStream
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import LoadedModel
from outcrop.store.batch_work import BatchWork

FILE = "prompts.jsonl"


def spread(records: Sequence[Record], count: int) -> list[Record]:
    """So many of the records, evenly from the first to the last: rows of files are often in some order."""
    count = min(count, len(records))
    return [records[number * len(records) // count] for number in range(count)]


class Bulk:
    """Times `outcrop batch` on the records' prompts: the same steps, as fp32 as it is by default, nothing known before
    and the model not loaded.

    tokens: of an answer at most; without `stops` each has as many as the record's own, however unlikely they are.
    """

    def __init__(
        self, loaded: LoadedModel, engine: EmbeddedEngine, records: Sequence[Record], tokens: int, *, stops: bool = True
    ) -> None:  # fmt: skip
        [(kind, _)] = Counter(map(type, records)).most_common(1)  # a file has one format
        self._records = [record for record in records if type(record) is kind]
        self._reading = Reading(format=FORMAT_OF[kind])
        self._text = "".join(map(line_of, self._records))
        self._loaded, self._engine = loaded, engine
        self._sampling = Sampling(max_new_tokens=tokens)
        identity = Identity(loaded.folder.digest(), "", "", "float32", "", "")
        self._asker = Asker(loaded.folder, loaded.renderer, self._sampling, identity)
        if not stops:
            self._asker = _OwnLengths(loaded, self._records, identity)

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._records)

    def rate(self) -> float:
        """Rows per second, once."""
        read = body_reader(Responder(self._loaded.folder.name, 0, self._loaded.renderer, self._sampling))
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / FILE).write_text(self._text, encoding="utf-8")
            self._engine.forget_prompts()
            start = time.perf_counter()
            with BatchWork(folder / "work") as work, PredictionCache(None, ignore) as cache:
                files = [InputFile(folder / FILE, FILE)]
                job = BatchJob(files, self._reading, read, self._asker, work, cache, ignore)
                tally = job.run(self._answers, folder).tally
            seconds = time.perf_counter() - start
        assert not tally.failed, f"rows that were fit to be asked were refused: {tally.first_refusal}"
        return self.rows / seconds

    def _answers(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        return RequestStream(self._engine).answers(requests)


class _OwnLengths(Asker):
    """Asks for answers as long as the records' own, which weights that were not trained would not give."""

    def __init__(self, loaded: LoadedModel, records: Sequence[Record], identity: Identity) -> None:
        super().__init__(loaded.folder, loaded.renderer, Sampling(), identity)
        renderer = loaded.renderer
        self._lengths = {
            tuple(renderer.prompt(record)): len(renderer.answer(record, answer_text(record))) for record in records
        }
        self._context = loaded.context

    def request(self, question: Question) -> KeyedRequest:
        """The request with its own length, at which alone it ends."""
        made = super().request(question)
        prompt = made.request.prompt_ids
        tokens = max(1, min(self._lengths[prompt], self._context - len(prompt)))
        sampling = replace(made.request.sampling, max_new_tokens=tokens, stop_ids=())
        return made._replace(request=replace(made.request, sampling=sampling))
