"""`demo`: the whole loop on bundled data and a bundled base model, offline."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target, write_json
from outcrop.core.invocation import repeatable
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import read
from outcrop.data.records import Record, answer_text
from outcrop.data.split import split, write_split
from outcrop.evaluation.results import EvaluationResult
from outcrop.workflows.fine_tune import tune

BASE = "bundled:pebble-s"
DATA = "support-requests.jsonl"
MAPPING = Mapping(columns={"prompt": "message", "completion": "intent"}, template="Message: {prompt}\nIntent:")
SETTINGS = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.2, "early_stopping_patience": 4}
MARK = "demo.json"


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and made. problems: defects of the data by code; rows: in each part of the split."""

    evaluation: EvaluationResult
    problems: dict[str, int]
    rows: dict[str, int]
    minutes: float
    model: str
    report: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"evaluation": self.evaluation.as_dict()}


@repeatable
def demo(to: str, *, base: str = BASE, listener: Listener = ignore) -> DemoResult:
    """Check, split, measure, tune, evaluate. Makes `to`, or makes it anew if an earlier demo made it.

    Raises UsageError if `to` holds something else.
    """
    folder = Path(to)
    check_target(folder, overwrite=True)
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(f"--to {folder} is not empty, and no demo made it.", "Give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, {"made by": "outcrop demo"})
    problems, parts = _prepared(folder / "data", listener)
    tuned = tune(
        base, [str(folder / "data")], str(folder / "model"), settings=SETTINGS, overwrite=True, listener=listener
    )
    assert tuned.evaluation is not None, "the split has a test part"
    counts = {group["code"]: group["count"] for group in problems.as_dict()["problems"]}
    return DemoResult(tuned.evaluation, counts, parts, tuned.minutes, tuned.model, str(tuned.report))


def demo_rows() -> tuple[list[Record], Problems]:
    """The bundled rows as pairs, without those that lack a text or an intent, or have a mistyped one; and what is
    wrong with the file."""
    problems = Problems()
    records = list(read([str(files("outcrop") / "data" / "bundled" / DATA)], MAPPING, None, problems))
    spellings = _spellings(records)
    return [record for record in records if answer_text(record) in spellings], problems


def _prepared(to: Path, listener: Listener) -> tuple[Problems, dict[str, int]]:
    listener({"event": "stage", "title": "Checking and splitting the bundled support requests"})
    records, problems = demo_rows()
    message = f"{problems.rows_with_errors} rows without text or intent are left out, and those with a mistyped intent"
    listener({"event": "warning", "code": "dropped-rows", "message": f"{message}; outcrop data check names each."})
    drawn = split(records)
    write_split(drawn, to, MAPPING, overwrite=True)
    return problems, {name: len(part) for name, part in drawn.parts().items()}


def _spellings(records: list[Record]) -> set[str]:
    """The usual spelling of every intent: of those that differ only in case, spaces and underscores, the commonest."""
    counts = Counter(answer_text(record) for record in records)
    usual: dict[str, str] = {}
    for spelling, _ in counts.most_common():
        usual.setdefault("".join(filter(str.isalnum, spelling.casefold())), spelling)
    return set(usual.values())
