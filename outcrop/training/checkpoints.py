"""Checkpoints that are whole or not there: written aside, digested, then renamed; a damaged one is passed over."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from outcrop.core.errors import JobFailed
from outcrop.core.files import digest, write_json

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a step left behind: tensors by name, and JSON-ready state."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `folder`/step-NNNNNNNN and remove all but the newest two. The manifest with digests is written last."""
    final = folder / f"step-{checkpoint.step:08d}"
    scratch = folder / f".{final.name}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _write(scratch / TENSORS, checkpoint.tensors)
    write_json(scratch / STATE, checkpoint.state)
    digests = {name: digest(scratch / name) for name in (TENSORS, STATE)}
    write_json(scratch / MANIFEST, {"step": checkpoint.step, "files": digests})
    shutil.rmtree(final, ignore_errors=True)
    os.replace(scratch, final)
    _sync(folder)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and the names of newer ones that are not."""
    damaged: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        if _whole(path):
            state = json.loads((path / STATE).read_text())
            return Checkpoint(int(path.name.removeprefix("step-")), load_file(path / TENSORS), state), damaged
        damaged.append(path.name)
    return None, damaged


@dataclass(frozen=True)
class BestWeights:
    """The weights of the best evaluations, each in a file of its own that is named by its step.

    An earlier best may go only once a checkpoint knows the later one: a run resumed before that still needs it.
    """

    folder: Path

    def keep(self, step: int, weights: Tensor) -> None:
        """Write the weights of this step, whole or not at all."""
        partial = self.folder / f".{self._file(step).name}"
        _write(partial, {"master": weights})
        partial.replace(self._file(step))

    def load(self, step: int) -> Tensor:
        """The weights that were kept at this step. Raises JobFailed if they are gone."""
        if not self._file(step).exists():
            raise JobFailed("The best weights are gone.", "Start anew with --overwrite.", str(self._file(step)))
        return load_file(self._file(step))["master"]

    def forget_others(self, step: int) -> None:
        """Remove the weights of all other steps."""
        for path in self.folder.glob("best-*.safetensors"):
            if path != self._file(step):
                path.unlink()

    def _file(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}.safetensors"


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    _sync(path)


def _whole(path: Path) -> bool:
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
        return all(digest(path / name) == wanted for name, wanted in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
