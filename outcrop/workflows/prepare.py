"""Prepare data sets: a chain of steps over any number of rows, with an account of every row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from outcrop.core.errors import UsageError, UserError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import digest, write_json
from outcrop.core.settings import threads
from outcrop.data.card import Provenance, name_of
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.pipeline import output
from outcrop.data.pipeline.blocks import BLOCK_BYTES, BLOCK_ROWS, Inputs
from outcrop.data.pipeline.chain import Chain, Values, chain
from outcrop.data.pipeline.pool import RUNNERS
from outcrop.data.pipeline.runner import Run
from outcrop.data.reading import Paths
from outcrop.data.records import Record
from outcrop.data.steps.step import Tools
from outcrop.models.token_counting import token_counter
from outcrop.workflows.describe_data import REPORT, write_card
from outcrop.workflows.prepared_card import prepared_card
from outcrop.workflows.run_folder import RUN, STAGES, run_folder

STATE = "state.json"


@dataclass(frozen=True)
class PrepareResult:
    """A finished preparation: its folder, the account that stands in its preparation.json, and the report in it."""

    folder: Path
    account: Mapping[str, Any]
    report: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The account as JSON-ready fields."""
        return {"folder": str(self.folder), "report": str(self.report) if self.report else None, **self.account}


def prepare(
    data: Paths,
    to: str | Path,
    mapping: ColumnMapping | None = None,
    format: str | None = None,
    steps: Sequence[str] | None = None,
    settings: Values | None = None,
    recipe: str | Path | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
    predicates: Sequence[Callable[[Record], bool]] = (),
    workers: int | None = None,
    runner: str = "local",
    listener: Listener = ignore,
    provenance: Provenance | None = None,
    *,
    report: bool = True,
    overwrite: bool = False,
    resume: bool = False,
) -> PrepareResult:
    """Run a chain of steps over data files and write the folder `to`, or nothing.

    steps: names in order; settings: parameters by step and name, which win over those of `recipe`, a TOML file;
    sources: what to call where a setting came from; predicates: functions of a module, for the step filter;
    workers: processes; runner: local, or ray for Ray Data; the bytes of the result depend on neither. provenance: as
    stated, for the card, which is written with the report unless `report` is false. With resume an unfinished
    preparation goes on.
    Raises UsageError for unknown steps, parameters and files, and DataError for files that cannot be used.
    """
    made = chain(steps, settings, Path(recipe) if recipe else None, sources)
    inputs = Inputs(data, mapping, format)
    tools = Tools(token_counter, tuple(predicates))
    for link in made.links:
        link.build(tools).check_inputs([name for _, name in inputs.files()])
    names = [str(path) for path, _ in inputs.files()] + [str(path) for path in _read_by_steps(made)]
    parameters = [vars(entry) for entry in made.resolved()]
    listener({"event": "resolved", "parameters": parameters})
    with run_folder(str(to), overwrite=overwrite, resume=resume, inputs=names, listener=listener) as partial:
        stages = (partial / RUN / STAGES).absolute()
        stages.mkdir(parents=True, exist_ok=True)
        facts = _facts(inputs, made)
        _keep_state(stages.parent / STATE, facts, resume)
        try:
            with RUNNERS.load(runner)(workers or threads()) as pool:
                run = Run(inputs, made, stages, pool, tools, listener)
                stage = run.run()
                written = output.write(run, stage, partial, mapping)
        except UserError:
            # Rows or parameters have to change, and then no shard can be used again.
            shutil.rmtree(stages)
            raise
        account = output.write_account(run, written, partial, {"inputs": facts["inputs"], "mapping": facts["mapping"]})
        if report:
            stated = provenance or Provenance(name_of(facts["inputs"][0]["file"]))
            write_card(prepared_card(stage, written, account, partial, stated, listener), partial)
    return PrepareResult(Path(to), account, Path(to) / REPORT if report else None)


def _read_by_steps(made: Chain) -> list[Path]:
    return [path for link in made.links for path in link.files()]


def _facts(inputs: Inputs, made: Chain) -> dict[str, Any]:
    """What decides the bytes of every shard."""
    return {
        "version of Outcrop": version("outcrop"),
        "block size": [BLOCK_ROWS, BLOCK_BYTES],
        "inputs": [{"file": name, "digest": digest(path)} for path, name in inputs.files()],
        "mapping": inputs.mapping.model_dump(mode="json") if inputs.mapping else None,
        "format": inputs.format,
        "files of steps": [[str(path), digest(path)] for path in _read_by_steps(made)],
        "chain": [[link.name, link.spec.model_dump(mode="json")] for link in made.links],
    }


def _keep_state(path: Path, facts: Mapping[str, Any], resume: bool) -> None:
    """Note what the shards are made from; refuse to go on with shards that were made from something else."""
    if resume and path.is_file():
        before = json.loads(path.read_text("utf-8"))
        if different := [name for name, value in json.loads(json.dumps(facts)).items() if before.get(name) != value]:
            raise UsageError(
                f"The unfinished preparation was begun with another {' and another '.join(different)}.",
                "Repeat what it was begun with, or start anew with --overwrite.",
            )
    write_json(path, facts)
