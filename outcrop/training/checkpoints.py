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

from outcrop.core.files import digest, write_json

MANIFEST = "manifest.json"
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
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()},
        scratch / "tensors.safetensors",
    )
    write_json(scratch / "state.json", checkpoint.state)
    files = ("tensors.safetensors", "state.json")
    _sync(scratch / files[0])
    write_json(scratch / MANIFEST, {"step": checkpoint.step, "files": {name: digest(scratch / name) for name in files}})
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
            state = json.loads((path / "state.json").read_text())
            return Checkpoint(
                int(path.name.removeprefix("step-")), load_file(path / "tensors.safetensors"), state
            ), damaged
        damaged.append(path.name)
    return None, damaged


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
