"""`invoke-batch`: a batch inference job of the service: from records at a URI to Bedrock's output files at a URI."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import staged_folder, write_json
from outcrop.store.places import Places, PlacesSpec
from outcrop.workflows.batch_infer import batch
from outcrop.workflows.run_folder import JOB, RESULT, is_of_job


@dataclass(frozen=True)
class InvokeBatchResult:
    """How many records were read, answered, and not answered."""

    rows: int
    succeeded: int
    failed: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def invoke_batch(
    model: str,
    to: str,
    *,
    source: str,
    output: str,
    places: Mapping[str, Any],
    invocation: str,
    foundation: str = "",
    cache: str,
    listener: Listener = ignore,
) -> InvokeBatchResult:
    """Answer the .jsonl files at `source` and write theirs below `output`; `to` keeps the account of the job.

    source, output: URIs within `places`, the fields of a PlacesSpec; invocation: "InvokeModel" or "Converse";
    foundation: as `batch` has it; cache: the file of answers that were computed before. An interrupted job goes on.
    Raises what `batch` raises.
    """
    store, work = Places(PlacesSpec.parse(places)), Path(f"{to}.work")
    listener({"event": "stage", "title": "Fetching the records"})
    inputs, answers = _fetched(store, source, work / "inputs"), work / "answers"
    if not is_of_job(answers, JOB.get()):
        batch(
            model, [str(inputs)], str(answers), invocation=invocation, foundation=foundation, cache=cache,
            listener=listener,
        )  # fmt: skip
    listener({"event": "stage", "title": "Writing the results"})
    for path in sorted(answers.glob("*.out")):
        with path.open("rb") as file:
            store.put(output, path.name, file)
        path.unlink()
    told = json.loads((answers / RESULT).read_text("utf-8"))
    result = InvokeBatchResult(told["rows"], told["succeeded"], told["failed"])
    write_json(answers / RESULT, {**told, **result.as_dict()})
    os.replace(answers, to)
    shutil.rmtree(work)
    return result


def _fetched(store: Places, source: str, target: Path) -> Path:
    """A folder with copies of the files of records, made once."""
    if target.exists():
        return target
    with staged_folder(target) as scratch:
        for file in store.files(source):
            name = file.name.replace("/", "-") or source.rstrip("/").rpartition("/")[2]
            if name.endswith(".jsonl"):
                store.fetch(source, file.name, scratch / name)
        if not any(scratch.iterdir()):
            raise UsageError(f"There are no .jsonl files at {source}.", "Put the records there.")
    return target
