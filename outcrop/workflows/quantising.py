"""The last stage of a student: its weights in int8, kept where that pays and costs no more than was allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.events import Listener
from outcrop.core.files import write_json
from outcrop.core.results import Estimate
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.evaluation.distillation import Int8Facts, Target
from outcrop.evaluation.loss import measured_loss
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example
from outcrop.models.folder import extend_card
from outcrop.models.int8 import WEIGHTS, quantise_folder
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import MODEL_FILES
from outcrop.workflows.measure import System, TestRows, ask, measure
from outcrop.workflows.speed import faster, race
from outcrop.workflows.teachers import Teacher

AUTO, ALWAYS, NEVER = WISHES = ("auto", "always", "never")
FLOATS, INT8 = "floats", "int8"
RACED_PROMPTS = 24
MOST_ROWS = 256
"""Validation rows that are answered, of which the teacher's answers are known."""


class Tried(NamedTuple):
    """What was found, and the student in floats, where its folder holds int8 now."""

    facts: Int8Facts | None
    floats: LoadedModel | None


@dataclass(frozen=True)
class Int8:
    """How int8 weights are tried. metric: the one that decides; longest: tokens of an answer; folder: for what must be
    kept until the run is done, so that one that goes on decides the same."""

    wish: str
    target: Target
    metric: str
    labels: tuple[str, ...] | None
    longest: int
    seed: int
    folder: Path
    listener: Listener

    def apply(self, place: Path, teacher: Teacher, records: Sequence[Record]) -> Tried:
        """Quantise the student in `place` where that is wished for, or pays on validation records."""
        if self.wish == NEVER:
            return Tried(None, None)
        self.listener({"event": "stage", "title": "Trying the student's weights in int8"})
        facts = self._known() or self._measured(place, teacher, records[:MOST_ROWS])
        write_json(self._file, facts.as_dict())
        if not facts.kept:
            return Tried(facts, None)
        floats = load_model(str(place))
        quantise_folder(place)
        extend_card(place, {"weights": INT8})
        return Tried(facts, floats)

    @property
    def _file(self) -> Path:
        return self.folder / "int8.json"

    def _known(self) -> Int8Facts | None:
        return Int8Facts.from_dict(json.loads(self._file.read_text("utf-8"))) if self._file.exists() else None

    def _measured(self, place: Path, teacher: Teacher, records: Sequence[Record]) -> Int8Facts:
        trial = self.folder / INT8
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir(parents=True)
        for name in (*MODEL_FILES, WEIGHTS, "outcrop.json"):
            if (place / name).exists():
                shutil.copyfile(place / name, trial / name)
        quantise_folder(trial)
        models = {FLOATS: load_model(str(place)), INT8: load_model(str(trial))}
        rows = TestRows(records, self.labels)
        told = teacher.answers(records, self.labels, self.longest)
        teacher.close()
        answered = {name: self._answered(name, loaded, rows) for name, loaded in models.items()}
        metric = METRICS.load(self.metric)
        theirs = [
            Example(prompt_text(record), (answer_text(record).strip(),), answer or "", self.labels)
            for record, answer in zip(records, told, strict=True)
        ]
        lost = {
            name: measured_loss(metric, theirs, examples, self.target.within, seed=self.seed).loss
            for name, examples in answered.items()
        }
        timings = race(models, records, self.longest, self.listener, alone=RACED_PROMPTS)
        latency, throughput = faster(timings[FLOATS], timings[INT8], seed=self.seed)
        bytes_of = {name: (folder / WEIGHTS).stat().st_size / 1e6 for name, folder in ((FLOATS, place), (INT8, trial))}
        kept, why = self._decided(lost, latency, throughput)
        return Int8Facts(
            kept, why, latency, throughput, bytes_of[FLOATS], bytes_of[INT8], lost[FLOATS], lost[INT8], len(records)
        )

    def _answered(self, name: str, loaded: LoadedModel, rows: TestRows) -> tuple[Example, ...]:
        system = System.of(f"the student in {name}", "", loaded, ask(loaded, rows, 0, self.seed))
        return measure(system, rows, self.listener, seed=self.seed).examples

    def _decided(self, lost: dict[str, float], latency: Estimate, throughput: Estimate) -> tuple[bool, str]:
        """Whether int8 is kept, and why."""
        if self.wish == ALWAYS:
            return True, "asked for with --int8 always"
        if lost[INT8] > max(self.target.within / 100, lost[FLOATS]):
            return False, f"it loses more than {self.target.within:g} points on the validation rows"
        ways = {"one prompt at a time": latency, "many at once": throughput}
        slower = [name for name, found in ways.items() if _high(found) < 1]
        if slower:
            return False, f"it is slower {' and '.join(slower)}"
        won = [name for name, found in ways.items() if _low(found) > 1]
        return bool(won), f"it is faster {' and '.join(won)}" if won else "no gain of speed is shown"


def check_wish(wish: str) -> None:
    """Raise UsageError for another word than those of WISHES."""
    if wish not in WISHES:
        raise UsageError(f"--int8 is {wish}.", did_you_mean(wish, WISHES))


def _low(found: Estimate) -> float:
    return found.value if found.low is None else found.low


def _high(found: Estimate) -> float:
    return found.value if found.high is None else found.high
