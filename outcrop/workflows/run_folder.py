"""Where a run lives while it runs: NAME.partial beside the target, which takes its place only when all is done."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target, unusable_target, write_atomic
from outcrop.store.batch_work import BatchWork

RUN, RESULT = "run", "result.json"
"""Inside the target: a folder with journal, metrics and resolved parameters, and what the run ends with.

Checkpoints are removed when the run has ended."""

STAGES = "stages"
"""Inside RUN: the shards of a preparation that is under way."""

ANSWERS, INPUTS = "answers.sqlite", "inputs"
"""Inside RUN: the answers of a batch that is under way, and what it reads, where that was fetched."""

SEARCH = "search"
"""Inside RUN: speeds and short trainings of students."""

BASELINE = "baseline"
"""Inside RUN: what a result is compared with, where that had to be trained."""

SECONDS = "seconds.json"
"""Inside RUN: what the stages of a distillation took so far."""

LOCK = "lock"
"""Locked by the process that works here; the system lets go of it when that process ends, however it ends."""

MARK = "job"
"""Holds the id of the job that works here, or worked."""

JOB: ContextVar[str] = ContextVar("JOB", default="")
"""The id of the job that runs now, if it is one: it finds its own unfinished run, and goes on with it by itself."""


def is_of_job(folder: Path, job_id: str) -> bool:
    """Whether a run's folder, finished or not, is of this job."""
    mark = folder / RUN / MARK
    return bool(job_id) and mark.is_file() and mark.read_text() == job_id


def partial_of(target: Path) -> Path:
    """Where a run works until `target` can be made of it."""
    return target.with_name(f"{target.name}.partial")


@contextmanager
def run_folder(
    to: str, *, overwrite: bool, resume: bool, inputs: Iterable[str] = (), listener: Listener = ignore
) -> Iterator[Path]:
    """The folder to work in. It becomes `to` if the block ends well. If the work fails it stays for --resume; if there
    is neither a checkpoint nor a finished shard yet, it vanishes. inputs: what the run reads, never overwritten.

    An interruption or error gets a note on what is kept. Raises UsageError where `to` is taken or cannot be made,
    an unfinished run is in the way, or another process is at work there.
    """
    target = Path(to)
    if resume and not overwrite and (target / RESULT).is_file():
        raise UsageError(f"The run in {target} is finished: there is nothing to resume.", "Give another --to.")
    check_target(target, overwrite=overwrite, inputs=inputs)
    partial = partial_of(target)
    resume = resume or is_of_job(partial, JOB.get())
    if _begun(partial) and not (resume or overwrite):
        raise UsageError(
            f"There is an unfinished run: {partial}.", "Continue it with --resume, or start anew with --overwrite."
        )
    with _locked(partial):
        if not resume:
            _empty(partial)
        elif not _kept(partial):
            message = f"There is no checkpoint in {partial}: nothing is resumed, the run starts from the beginning."
            listener({"event": "warning", "code": "nothing-to-resume", "message": message})
        if JOB.get():
            write_atomic(partial / RUN / MARK, JOB.get())
        try:
            yield partial
        except BaseException as error:
            kept = _kept(partial)
            if not kept:
                shutil.rmtree(partial)
            if kept or isinstance(error, KeyboardInterrupt):
                error.add_note(kept or "No checkpoint was written yet, so nothing is kept.")
            raise
        _finish(partial, target)


def _finish(partial: Path, target: Path) -> None:
    """Put the folder in its place, then tidy it: nothing that a killed run could go on from is removed before."""
    for file in partial.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)  # weights are written with no rights for others
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
    tidy(target)


def tidy(folder: Path) -> None:
    """Remove from a finished run what only an unfinished one needs."""
    leftovers = ("best-*", ".best-*", f"{ANSWERS}*", SECONDS, LOCK)
    for leftover in [path for pattern in leftovers for path in (folder / RUN).glob(pattern)]:
        leftover.unlink()
    is_preparation = (folder / RUN / STAGES).exists()
    for name in ("checkpoints", "tokens", STAGES, INPUTS, SEARCH, BASELINE):
        shutil.rmtree(folder / RUN / name, ignore_errors=True)
    if is_preparation:
        shutil.rmtree(folder / RUN)


def _kept(partial: Path) -> str:
    """What of an unfinished run is kept, and how to go on; empty where there is nothing."""
    checkpoints = sorted((partial / RUN / "checkpoints").glob("step-*"))
    tried = sum(1 for _ in (partial / RUN / SEARCH).glob("*.json"))
    if checkpoints:
        what = f"The checkpoint of step {int(checkpoints[-1].name.removeprefix('step-')):,} is"
    elif shards := sum(1 for _ in (partial / RUN / STAGES).glob("*/*.json")):
        what = f"{shards:,} finished shards are"
    elif answers := _answers(partial / RUN / ANSWERS):
        what = f"{answers:,} answers are"
    elif tried:
        what = "The search for a student is"
    else:
        return ""
    return f"{what} kept in {partial}: the same command with --resume goes on from there."


def _answers(file: Path) -> int:
    if not file.exists():
        return 0
    with BatchWork(file) as work:
        counts = work.counts()
    return counts.computed + counts.recalled


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Make the folder, and keep every other process out of it."""
    try:
        (partial / RUN).mkdir(parents=True, exist_ok=True)
        file = (partial / RUN / LOCK).open("a")
    except OSError as error:
        raise unusable_target(partial, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "Wait for it, or give another --to."
            raise UsageError(f"Another process is at work in {partial}.", remedy) from None
        yield


def _begun(partial: Path) -> bool:
    """Whether a run left anything there but its lock: one killed before it began is no reason to ask."""
    return any(path not in (partial / RUN, partial / RUN / LOCK) for path in partial.rglob("*"))


def _empty(partial: Path) -> None:
    """Remove everything but the lock."""
    for path in [*(partial / RUN).iterdir(), *partial.iterdir()]:
        if path.name == RUN or path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
