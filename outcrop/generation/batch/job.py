"""A batch inference job, step by step: render, recall what is known, answer the rest, write; each can be repeated.

What a step has done is in the file of the job (store/batch_work.py), so that a killed job goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from outcrop.core.completions import Completion
from outcrop.core.errors import UserError
from outcrop.core.events import Listener
from outcrop.generation.batch.formats import OutputLine
from outcrop.generation.batch.predictions import PredictionCache
from outcrop.generation.batch.questions import BodyReader, Question, Refusal
from outcrop.generation.batch.requests import (
    Asker,
    answer_text,
    asked_text,
    outcome_from,
    packed,
    request_from,
)
from outcrop.generation.batch.rows import BatchRow, InputFile, OpenFile, Reading, open_file
from outcrop.generation.batch.running import Answered, Pending
from outcrop.generation.batch.writing import OutputFiles
from outcrop.generation.lookup import lookup_entry
from outcrop.store.batch_work import BatchWork, WorkAnswer, WorkRequest, WorkRow
from outcrop.store.lookups import LookupEntry

RENDERED_AT_ONCE, RECALLED_AT_ONCE = 256, 1000
TOLD_EVERY_S = 1.0
T = TypeVar("T")
Answers = Callable[[Iterator[Pending]], Iterator[list[Answered]]]


@dataclass
class Tally:
    """Rows by what became of them, tokens of the answered rows, and answers that were left out of publishing."""

    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    unpublished: int = 0
    first_refusal: str = ""

    def count(self, outcome: Sequence[Completion] | Refusal) -> None:
        """Add a row."""
        self.rows += 1
        if isinstance(outcome, Refusal):
            self.failed += 1
            self.first_refusal = self.first_refusal or f"The first: {outcome.message}"
            return
        self.succeeded += 1
        self.prompt_tokens += outcome[0].prompt_tokens
        self.generated_tokens += sum(len(completion.token_ids) for completion in outcome)

    def manifest(self) -> dict[str, int]:
        """As Bedrock's manifest.json.out has it."""
        return {
            "totalRecordCount": self.rows, "processedRecordCount": self.rows, "successRecordCount": self.succeeded,
            "errorRecordCount": self.failed, "inputTokenCount": self.prompt_tokens,
            "outputTokenCount": self.generated_tokens,
        }  # fmt: skip


class Output(NamedTuple):
    """What was written: file names, the tally of all rows and of those in Bedrock's form, and what can be published."""

    files: list[str]
    tally: Tally
    bedrock: Tally
    entries: list[LookupEntry]


@dataclass(frozen=True)
class BatchJob:
    """The files of a job, how they are read and asked, and where its work and its answers are kept."""

    files: Sequence[InputFile]
    reading: Reading
    read: BodyReader
    asker: Asker
    work: BatchWork
    cache: PredictionCache
    listener: Listener

    def run(self, answers: Answers, folder: Path, *, publishing: bool = False) -> Output:
        """All of it, from the files to those in `folder`. Raises as its steps do."""
        self.render()
        self.recall()
        self.answer(answers)
        return self.write(folder, publishing=publishing)

    def render(self) -> None:
        """Read and render every row once. Raises DataError for a file that cannot be read to its end."""
        if self.work.rendered:
            return
        self.listener({"event": "stage", "title": "Reading"})
        rows = (row for opened in self._opened() for row in opened.rows)
        done = 0
        for part in _pieces(rows, RENDERED_AT_ONCE):
            made = [self._rendered(done + index, row) for index, row in enumerate(part)]
            requests = {request.key: request for _, request in made if request is not None}
            self.work.add([row for row, _ in made], list(requests.values()))
            done += len(part)
            self.listener({"event": "progress", "title": "rows", "done": done, "total": None})
        self.work.mark_rendered()

    def recall(self) -> None:
        """Take what the prediction cache knows; give it what an earlier attempt computed."""
        self.cache.keep(self.work.lasting_answers())
        for keys in _pieces(self.work.unanswered(lasting=True), RECALLED_AT_ONCE):
            found = self.cache.find(keys)
            self.work.answer([WorkAnswer(key, text, "recalled") for key, text in found.items()])

    def answer(self, answers: Answers) -> None:
        """Compute what is not answered yet; each answer is kept before the next step."""
        keys = self.work.unanswered()
        if not keys:
            return
        meter = _Meter(self, len(keys))
        lasting: set[bytes] = set()
        for answered in answers(self._pending(keys, lasting)):
            texts = {key: answer_text(outcome) for key, outcome in answered}
            refused = {key for key, outcome in answered if isinstance(outcome, Refusal)}
            self.work.answer(
                [WorkAnswer(key, text, "refused" if key in refused else "computed") for key, text in texts.items()]
            )
            self.cache.keep((key, text) for key, text in texts.items() if key in lasting and key not in refused)
            lasting.difference_update(texts)
            meter.count(answered)
        self.cache.flush()

    def write(self, folder: Path, *, publishing: bool = False) -> Output:
        """Write what became of every row, in the order of the rows, beside the names of their files."""
        self.listener({"event": "stage", "title": "Writing"})
        tally, bedrock = Tally(), Tally()
        names: list[str] = []
        entries: list[LookupEntry] = []
        results = self.work.row_answers()
        for opened in self._opened():
            with OutputFiles(folder, opened.file.name, opened.form.suffixes) as files:
                for row in opened.rows:
                    result = next(results)
                    outcome = self._outcome(row, result.error or result.answer)
                    files.write(self._line(opened, row, outcome))
                    for each in (tally, bedrock) if opened.form.name == "bedrock-batch" else (tally,):
                        each.count(outcome)
                    if publishing and row.question is not None and not isinstance(outcome, Refusal):
                        self._publish(row.question, outcome, entries, tally)
                names += files.names
        assert next(results, None) is None, "there are answers to more rows than the files hold"
        if tally.failed:
            message = f"{tally.failed:,} of {tally.rows:,} rows have an error and no answer. {tally.first_refusal}"
            self.listener({"event": "warning", "code": "failed-rows", "message": message})
        return Output(names, tally, bedrock, entries)

    def _opened(self) -> Iterator[OpenFile]:
        return (open_file(file, self.reading, self.asker.folder, self.read) for file in self.files)

    def _rendered(self, number: int, row: BatchRow) -> tuple[WorkRow, WorkRequest | None]:
        refusal = row.refusal
        if row.question is not None:
            try:
                made = self.asker.request(row.question)
                tokens, asked = packed(made.request.prompt_ids), asked_text(made.request)
                return WorkRow(number, made.key, None), WorkRequest(made.key, tokens, asked, made.lasting)
            except UserError as error:
                refusal = Refusal.of(error)
        assert refusal is not None, "a row asks something or is refused"
        return WorkRow(number, None, answer_text(refusal)), None

    def _pending(self, keys: Sequence[bytes], lasting: set[bytes]) -> Iterator[Pending]:
        """The requests of keys; those whose answers may be kept for other jobs are noted in `lasting`."""
        for found in self.work.requests(keys):
            if found.lasting:
                lasting.add(found.key)
            yield Pending(found.key, request_from(found.tokens, found.asked))

    def _outcome(self, row: BatchRow, text: str | None) -> list[Completion] | Refusal:
        """What became of a row: its answers as it gets them, or why there are none."""
        assert text is not None, "a row was neither answered nor refused"
        outcome = outcome_from(text)
        if isinstance(outcome, Refusal):
            return outcome
        assert row.question is not None, "a row that asks nothing was answered"
        return self.asker.finished(row.question, outcome)

    def _line(self, opened: OpenFile, row: BatchRow, outcome: list[Completion] | Refusal) -> OutputLine:
        if isinstance(outcome, Refusal) or row.question is None:
            assert isinstance(outcome, Refusal), "only a refusal is written without a question"
            return opened.form.line(row.row, row.origin, outcome)
        return opened.form.line(row.row, row.origin, row.question.write(outcome, row.identity))

    def _publish(
        self, question: Question, completions: Sequence[Completion], entries: list[LookupEntry], tally: Tally
    ) -> None:
        """Add an answer that is the same whenever it is asked for."""
        asked = self.asker.asked(question)
        if len(completions) != 1 or (asked.sampling.temperature and "seed" not in question.sampling):
            tally.unpublished += 1
        else:
            entries.append(lookup_entry(self.asker.model, asked.record, asked.sampling, completions[0]))


class _Meter:
    """Tells how far the answering is, once a second."""

    def __init__(self, job: BatchJob, unanswered: int) -> None:
        counts = job.work.counts()
        self._listener, self._total, self._hits = job.listener, counts.requests, counts.recalled
        self._left, self._done, self._tokens = unanswered, 0, 0
        self._began = time.monotonic()
        self._told = -TOLD_EVERY_S

    def count(self, answered: Sequence[Answered]) -> None:
        """More requests are answered."""
        self._done += len(answered)
        self._left -= len(answered)
        for _, outcome in answered:
            self._tokens += 0 if isinstance(outcome, Refusal) else sum(len(each.token_ids) for each in outcome)
        now = time.monotonic()
        if now - self._told < TOLD_EVERY_S and self._left:
            return
        self._told, seconds = now, max(now - self._began, 1e-9)
        self._listener(
            {
                "event": "progress", "title": "requests", "done": self._total - self._left, "total": self._total,
                "eta_s": seconds / self._done * self._left,
                "tokens_per_s": self._tokens / seconds, "cache_hits": self._hits,
            }
        )  # fmt: skip


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while part := list(islice(source, size)):
        yield part
