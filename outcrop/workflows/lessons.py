"""The rows of a distillation: prompts with or without answers, what is watched, and the sealed test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.core.files import write_atomic
from outcrop.data.certificate import CERTIFICATE, line_of, open_split
from outcrop.data.draw import SplitSpec
from outcrop.data.invocation_logs import FORMAT as LOG_FORMAT
from outcrop.data.labels import label_set
from outcrop.data.prompts import has_answer
from outcrop.data.records import Conversation, Pair, Record, answer_text
from outcrop.data.split import split
from outcrop.models.fitting import fit_prompts
from outcrop.models.rendering import Renderer
from outcrop.workflows.parts import prompt_form, warn_of_leaks
from outcrop.workflows.records import Source, read_rows, refuse_synthetic, renderable

FEWEST, MOST = 100, 15_000
"""Prompts that Bedrock's distillation takes; fewer is a warning here, more is none."""
HELD_FOR_TEST = 0.2
"""Share of the rows that becomes the sealed test where none is given."""
TEST_FILE = "test.jsonl"


@dataclass(frozen=True)
class Lessons:
    """Rows to learn from, to choose by and to test on. test_paths: their files; digests: of what was read, by part;
    labels: the closed set of answers, if it is one; notes: what a reader must know of the rows; prompt: the form that
    made the prompts, None without one."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    test_paths: tuple[str, ...]
    digests: dict[str, str]
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]
    prompt: dict[str, str] | None

    @property
    def has_gold(self) -> bool:
        """Whether every row to learn from has an answer of its own."""
        return all(map(has_answer, self.train))

    @property
    def tested_on_gold(self) -> bool:
        """Whether every test row has an answer of its own."""
        return all(map(has_answer, self.test))


def gather_lessons(
    source: Source, validation: Sequence[str], test: Sequence[str], folder: Path, listener: Listener, *,
    seed: int, validation_share: float, known_labels: Sequence[str],
) -> Lessons:  # fmt: skip
    """Read the rows of all parts. A folder written by `outcrop data split` brings its own; parts that are not given are
    split off, by groups of near-duplicates, and a test that was split off is kept in `folder`.

    known_labels: what the teacher was trained to answer. Raises DataError with every problem of the files at once.
    """
    mapping = source.mapping()
    prompt = prompt_form(mapping.model_dump() if mapping else None)
    split_folder = Path(source.paths[0]) if len(source.paths) == 1 else None
    if split_folder is not None and (split_folder / CERTIFICATE).is_file():
        files = {name: str(path) for name, path in open_split(split_folder).items()}
        prompt = prompt_form(json.loads((split_folder / CERTIFICATE).read_text("utf-8")).get("mapping"))
        source = Source((files["train"],), drop_bad_rows=source.drop_bad_rows)
        validation = validation or [files[name] for name in ("validation",) if name in files]
        test = test or [files[name] for name in ("test",) if name in files]
    rows = read_rows(source, listener, prompts=True)
    digests = {"training rows": rows.digest}
    logs = source.where or source.format == LOG_FORMAT
    elsewhere = replace(source, format="", where=()) if logs else source
    held, tested = (read_rows(elsewhere.at(paths), listener, prompts=True).records if paths else []
                    for paths in (validation, test))  # fmt: skip
    train, notes = rows.records, []
    shares = {"validation": 0.0 if held else validation_share, "test": 0.0 if tested else HELD_FOR_TEST}
    if any(shares.values()):
        drawn = split(train, SplitSpec(seed=seed, validation=shares["validation"], test=shares["test"]))
        train, held, tested = drawn.train, held or drawn.validation, tested or drawn.test
    refuse_synthetic(tested)
    if not test:
        write_atomic(folder / TEST_FILE, "".join(map(line_of, tested)))
        test = [str(folder / TEST_FILE)]
        notes.append(f"{len(tested):,} of the rows were held out as test, none almost equal to one that was learnt.")
    if len(train) < FEWEST:
        notes.append(f"Only {len(train):,} prompts: Bedrock asks for {FEWEST} at least.")
        listener({"event": "warning", "code": "few-prompts", "message": notes[-1]})
    warn_of_leaks({"training": train, "validation": held, "test": tested}, listener)
    answered = [record for record in (*train, *held, *tested) if has_answer(record)]
    labels = label_set(answered) if answered else None
    if known_labels and all(answer_text(record).strip() in known_labels for record in answered):
        labels = tuple(sorted(known_labels))
    return Lessons(train, held, tested, tuple(test), digests, labels, tuple(notes), prompt)


def usable(lessons: Lessons, renderers: Sequence[Renderer], context: int, answer: int, listener: Listener, *,
           drop: bool) -> Lessons:  # fmt: skip
    """The lessons without rows that some model cannot be given: special tokens in them, or no room for an answer.

    answer: tokens that an answer may have. Raises DataError naming them, unless they are to be dropped.
    """
    parts = {"training": lessons.train, "validation": lessons.validation, "test": lessons.test}
    found = renderable(renderers, parts, listener, drop=drop).parts
    notes = list(lessons.notes)
    for name, records in found.items():
        for renderer in renderers:
            fitted = fit_prompts(renderer, records, context, answer, "drop" if drop else "refuse", REMEDY)
            if fitted.account:
                notes.append(f"Of the {name} rows, {fitted.account}: too long for the context of {context:,} tokens.")
                listener({"event": "warning", "code": "over-long", "message": notes[-1]})
            records = fitted.records
        if not records:
            raise DataError(f"No {name} rows are left.", "Give shorter rows.")
        found[name] = records
    return replace(
        lessons, train=found["training"], validation=found["validation"], test=found["test"], notes=tuple(notes)
    )


REMEDY = "Shorten them, or leave them out, counted: --drop-bad-rows."


def check_choosing(lessons: Lessons) -> None:
    """Raise UsageError where labels cannot be tokens."""
    pairs = all(isinstance(record, Pair) for record in (*lessons.train, *lessons.validation, *lessons.test))
    if lessons.labels is None or not pairs:
        given = "Answers are no closed set of labels" if lessons.labels is None else "Rows are conversations"
        raise UsageError(f"{given}, so labels cannot be tokens.", "Use --student auto.")


def refuse_answerless(lessons: Lessons) -> None:
    """Raise UsageError where answers of the data are asked for that are not there."""
    missing = [record for record in lessons.train if not has_answer(record)]
    if missing:
        raise UsageError(
            f"{len(missing):,} rows have no answer of their own.", "Let the teacher answer.", str(missing[0].origin)
        )


def card_of(lessons: Lessons) -> dict[str, Any]:
    """What a student's card says of the rows."""
    counts = {"training": len(lessons.train), "validation": len(lessons.validation), "test": len(lessons.test)}
    return {
        "data": lessons.digests, "rows": counts, "labels": list(lessons.labels) if lessons.labels else None,
        "prompt": lessons.prompt, "conversations": any(isinstance(record, Conversation) for record in lessons.train),
    }  # fmt: skip
