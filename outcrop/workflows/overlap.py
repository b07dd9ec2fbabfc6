"""Rows that stand on two sides: a score on rows that were trained on says nothing about new ones."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.core.errors import DataError
from outcrop.core.events import Listener
from outcrop.data.crossing import crossing_pairs
from outcrop.data.records import Record, prompt_text
from outcrop.data.shingles import normalise

NAMED = 5
"""Rows that a message names."""


def keep_apart(
    train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record], drop: bool, listener: Listener
) -> list[Record]:
    """The training rows, without those whose prompt is also tested. drop: leave them out, counted, instead of refusing.

    Almost equal test prompts, and validation prompts that are trained on, are warned of. Raises DataError.
    """
    tested = {normalise(prompt_text(record)): record for record in test}
    shared = [record for record in train if normalise(prompt_text(record)) in tested]
    kept = list(train)
    if shared:
        places = [f"{record.origin} = {tested[normalise(prompt_text(record))].origin}" for record in shared[:NAMED]]
        if not drop:
            raise DataError(
                f"{_rows(len(shared), 'training')} also in the test rows; the score would be false: "
                f"{', '.join(places)}{' and others' if len(shared) > NAMED else ''}.",
                "Remove them from one side, or leave them out of training with --drop-bad-rows.",
            )
        left_out = {id(record) for record in shared}
        kept = [record for record in train if id(record) not in left_out]
        _warn(listener, "train-test-overlap", f"{_rows(len(shared), 'training')} also in the test rows, and left out.")
    if not kept:
        raise DataError("Every training row is also a test row.", "Give other rows to train on.")
    if near := _alike(kept, test):
        _warn(listener, "near-overlap", f"{_rows(near, 'test')} almost equal to training rows: the score flatters.")
    if seen := _alike(kept, validation):
        message = f"{_rows(seen, 'validation')} equal or almost equal to training rows: overfitting goes unnoticed."
        _warn(listener, "train-validation-overlap", message)
    return kept


def _alike(train: Sequence[Record], others: Sequence[Record]) -> int:
    """How many of the others have a prompt that is equal or almost equal to one of training."""
    different = {normalise(prompt_text(record)) for record in others}
    known = {normalise(prompt_text(record)) for record in train}
    prompts = [*sorted(known), *sorted(different)]
    sides = ["train"] * len(known) + ["other"] * len(different)
    found = {prompts[right] for _, right in crossing_pairs(prompts, sides)}
    return sum(normalise(prompt_text(record)) in found for record in others)


def _rows(count: int, kind: str) -> str:
    return f"1 {kind} row is" if count == 1 else f"{count:,} {kind} rows are"


def _warn(listener: Listener, code: str, message: str) -> None:
    listener({"event": "warning", "code": code, "message": message})
