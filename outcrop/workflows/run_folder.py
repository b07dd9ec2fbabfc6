"""Where a run lives while it runs: NAME.partial beside the target, which takes its place only when all is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outcrop.core.errors import UsageError
from outcrop.core.files import check_target

RUN = "run"
"""Inside the target: journal, metrics, resolved parameters; checkpoints are removed when the run has ended."""


@contextmanager
def run_folder(to: str, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """The folder to work in. It becomes `to` if the block ends well. If training fails it stays for --resume; if
    nothing was trained yet, it vanishes.

    Raises UsageError where `to` is taken, or an unfinished run is in the way.
    """
    target = Path(to)
    check_target(target, overwrite=overwrite)
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists() and not resume:
        if not overwrite:
            raise UsageError(
                f"There is an unfinished run: {partial}.", "Continue it with --resume, or start anew with --overwrite."
            )
        shutil.rmtree(partial)
    (partial / RUN).mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException:
        if not list((partial / RUN / "checkpoints").glob("step-*")):
            shutil.rmtree(partial)
        raise
    for leftover in [*(partial / RUN).glob("best-*"), *(partial / RUN).glob(".best-*")]:
        leftover.unlink()
    for folder in ("checkpoints", "tokens"):
        shutil.rmtree(partial / RUN / folder, ignore_errors=True)
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
