"""The record of a run: journal.jsonl, which a resumed run continues byte for byte, and Bedrock's two CSV files.

The journal holds only what the run itself determines. Times go to listeners, never into it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from outcrop.core.errors import JobFailed
from outcrop.core.events import Event, Listener
from outcrop.core.files import write_atomic

TIMINGS = ("tokens_per_s", "eta_s", "seconds", "minutes", "peak_memory_gb", "estimate_error_percent", "step_seconds")


class Journal:
    """Appends events to a file and tells a listener. `keep` is how many bytes of an earlier run's file still hold.

    Raises JobFailed if there are fewer.
    """

    def __init__(self, path: Path, listener: Listener, keep: int = 0) -> None:
        self.listener = listener
        if keep and (not path.exists() or path.stat().st_size < keep):
            raise JobFailed("The journal lost its end.", "Start anew with --overwrite.", str(path))
        self._file = path.open("ab")
        self._file.truncate(keep)
        self._file.seek(keep)

    def write(self, kind: str, **fields: Any) -> None:
        """Record an event of this kind and pass it on with its timings."""
        event: Event = {"event": kind, **fields}
        recorded = {name: value for name, value in event.items() if name not in TIMINGS}
        self._file.write((json.dumps(recorded, allow_nan=False) + "\n").encode())
        self.listener(event)

    def tell(self, kind: str, **fields: Any) -> None:
        """Pass an event on without recording it: it depends on the machine."""
        self.listener({"event": kind, **fields})

    def flush(self) -> int:
        """Make what was written durable; returns the length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._file.close()


def read_journal(path: Path) -> list[Event]:
    """All events of a journal file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_metrics(folder: Path, events: Iterable[Event]) -> None:
    """Bedrock's step_wise_training_metrics.csv and validation_metrics.csv (reference: Bedrock user guide, custom model
    output): step_number, epoch_number, training_loss or validation_loss, perplexity."""
    events = list(events)
    training = [(e["step"], e["epoch"], e["loss"]) for e in events if e["event"] == "step"]
    validation = [(e["step"], e["epoch"], e["validation_loss"]) for e in events if e["event"] == "evaluation"]
    for name, column, rows in (
        ("step_wise_training_metrics.csv", "training_loss", training),
        ("validation_metrics.csv", "validation_loss", validation),
    ):
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["step_number", "epoch_number", column, "perplexity"])
        table.writerows([step, epoch, loss, perplexity(loss)] for step, epoch, loss in rows)
        write_atomic(folder / name, text.getvalue())


def perplexity(loss: float) -> float:
    """exp(loss); infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf
