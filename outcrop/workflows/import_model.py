"""`import`: a model from files that somebody else made, checked and loaded once before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from outcrop.core.errors import ModelError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import write_json
from outcrop.models.folder import (
    ADAPTER_CONFIG,
    CASCADE,
    CHAT_TEMPLATE,
    CONFIG,
    DOWNLOADED,
    PICKLES,
    STUDENT,
    TOKENIZER_CONFIG,
    find_model,
)
from outcrop.models.loading import load_model
from outcrop.store.places import Listed, Places, PlacesSpec
from outcrop.workflows.run_folder import RESULT, run_folder

CHAT_TEMPLATES = (CHAT_TEMPLATE, "chat_template.json")


@dataclass(frozen=True)
class ImportResult:
    """A model that was imported. architecture: its configuration's word; has_template: whether it says how to chat;
    left_out: files that are no part of a model."""

    model: str
    architecture: str
    has_template: bool
    parameters: int
    left_out: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def import_model(
    source: str, to: str, *, places: Mapping[str, Any] | None = None, listener: Listener = ignore
) -> ImportResult:
    """Copy a model folder to `to`, check it and load it.

    source: a URI within `places`, the fields of a PlacesSpec; without them, the folder of a model that is ours already.
    Only weights in safetensors, configuration and tokenizer are taken. Raises ModelError for an adapter, which would
    name a folder of this machine as its base, for code and pickles, and for what does not load.
    """
    with run_folder(to, overwrite=False, resume=False, listener=listener) as folder:
        listener({"event": "stage", "title": "Fetching the model"})
        left_out = _copied(Path(source), folder) if places is None else _fetched(source, folder, places, listener)
        listener({"event": "stage", "title": "Checking the model"})
        found = find_model(str(folder))
        load_model(str(folder))
        template = any((folder / name).exists() for name in CHAT_TEMPLATES)
        template = template or "chat_template" in found.read(TOKENIZER_CONFIG)
        architecture = str(found.root.read(CONFIG).get("model_type", ""))
        result = ImportResult(to, architecture, template, found.root.parameters, left_out)
        write_json(folder / RESULT, result.as_dict())
    return result


def _copied(source: Path, folder: Path) -> tuple[str, ...]:
    for path in source.iterdir():
        if path.is_file() and path.name != RESULT:
            shutil.copyfile(path, folder / path.name)
    if (source / CASCADE).is_file():
        (folder / STUDENT).mkdir()
        _copied(source / STUDENT, folder / STUDENT)
    return ()


def _fetched(source: str, folder: Path, places: Mapping[str, Any], listener: Listener) -> tuple[str, ...]:
    store = Places(PlacesSpec.parse(places))
    found = store.files(source)
    wanted = [file for file in found if any(fnmatch(file.name, pattern) for pattern in DOWNLOADED)]
    left_out = tuple(file.name for file in found if file not in wanted)
    _check(source, wanted, left_out)
    total, done = sum(file.size for file in wanted), 0
    for file in wanted:
        listener({"event": "progress", "title": file.name, "done": done, "total": total})
        done += store.fetch(source, file.name, folder / file.name)
    if left_out:
        message = f"Not part of a model, and left out: {', '.join(left_out[:10])}."
        listener({"event": "warning", "code": "left-out", "message": message})
    return left_out


def _check(source: str, wanted: Sequence[Listed], left_out: Sequence[str]) -> None:
    names = [file.name for file in wanted]
    if ADAPTER_CONFIG in names:
        raise ModelError("Adapters are not imported: they need their base model.", "Merge it into its base.", source)
    if CONFIG not in names:
        raise ModelError(f"There is no {CONFIG} there, so it is no model.", "Give the prefix of its files.", source)
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in left_out if name.endswith(PICKLES)][:3]
        why = f" (only {', '.join(pickles)}: pickles can run code and are never loaded)" if pickles else ""
        raise ModelError(f"There are no safetensors weights there{why}.", "Convert the weights.", source)


