"""Model folders: where a model's name leads, what may lie there, and its outcrop.json. No torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from outcrop.core.errors import MissingDependency, ModelError, did_you_mean
from outcrop.core.files import Location, digest, write_json
from outcrop.models.file_checks import check_config
from outcrop.store.digests import remembered_digest

BUNDLED = Path(__file__).parent / "bundled"
CARD, README = "outcrop.json", "README.md"
CASCADE, STUDENT = "cascade.json", "student"
"""The file that makes a folder a cascade, and the folder of the smaller model in it."""
CONFIG, GENERATION_CONFIG, ADAPTER_CONFIG = "config.json", "generation_config.json", "adapter_config.json"
TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
FORM = ("kind", "conversations", "prompt", "rendering")
"""Fields of a card that decide how the model is asked."""
QUANTISATION, INT8, SCALE = "quantization_config", "outcrop-int8", "_scale"
"""The field of config.json that says how weights are stored, our own way, and what the name of a scale ends with."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DOWNLOADED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "LICENSE*", README)
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

FileStates = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of files."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was checked: `name` is what the user said, `base` the folder under an adapter (else None)."""

    name: str
    path: Path
    base: ModelFolder | None
    card: dict[str, Any]

    @property
    def weights(self) -> list[Path]:
        """The safetensors files, sorted."""
        return sorted(self.path.glob("*.safetensors"))

    @property
    def root(self) -> ModelFolder:
        """The whole model at the bottom: this folder, or the base of the base of … an adapter."""
        return self if self.base is None else self.base.root

    @property
    def student(self) -> ModelFolder | None:
        """The smaller model inside a cascade (models/cascade.py), None for any other model."""
        return find_model(str(self.path / STUDENT)) if (self.path / CASCADE).exists() else None

    @property
    def is_int8(self) -> bool:
        """Whether the weights are int8 with scales (models/int8.py)."""
        return self.read(CONFIG).get(QUANTISATION) == {"quant_method": INT8}

    def read(self, file: str) -> dict[str, Any]:
        """One of the folder's JSON objects, empty where the file is absent. Raises ModelError for a broken one."""
        return _json(self.path / file) if (self.path / file).exists() else {}

    @property
    def licence(self) -> str | None:
        """As the card says, or the front matter of README.md as models of the hub have it; of an adapter that says
        nothing, its base's. None where nobody says."""
        stated = self.card.get("licence") or _stated_licence(self.path / README)
        return str(stated) if stated else self.base.licence if self.base else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed set of answers that its card says it was made for, empty where answers are open."""
        tokens = (self.card.get("rendering") or {}).get("label_tokens")
        return tuple(map(str, self.card.get("labels") or tokens or ()))

    @property
    def parameters(self) -> int:
        """How many numbers the weights are, from the files' headers. Raises ModelError for a broken file."""
        inside = self.student
        return sum(_numbers(path) for path in self.weights) + (inside.parameters if inside else 0)

    def digest(self) -> str:
        """One digest of weights, configuration and tokenizer, and of a base or student: the identity of this model."""
        other = self.base or self.student
        total = hashlib.sha256((other.digest() if other else "").encode())
        names = (CONFIG, ADAPTER_CONFIG, TOKENIZER, TOKENIZER_CONFIG, CASCADE)
        for path in [*self.weights, *(self.path / name for name in names)]:
            if path.exists():
                total.update(f"{path.name} {remembered_digest(path)}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def state(self) -> FileStates:
        """Every file, those of a base or student, too. While it stays the same, so do the digests."""
        with os.scandir(self.path) as entries:
            own = sorted((entry.path, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries)
        other = self.base or self.student
        return (*own, *(other.state() if other else ()))

    def asking_digest(self) -> str:
        """One digest of this model and of what decides how it is asked and ends: template, stops, its card's form."""
        other = self.base or self.student
        form = {name: self.card.get(name) for name in FORM}
        told = [self.digest(), form, other.asking_digest() if other else ""]
        total = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for path in (self.path / CHAT_TEMPLATE, self.path / GENERATION_CONFIG):
            if path.exists():
                total.update(f"{path.name} {digest(path)}\n".encode())
        return f"sha256:{total.hexdigest()}"


def bundled_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))


def find_model(name: str) -> ModelFolder:
    """Resolve a folder, "bundled:NAME" or "hf:ORG/NAME" to a checked folder.

    Raises ModelError for a folder that is missing, holds code or pickles instead of safetensors, or is no model.
    """
    return _find(name, ())


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write outcrop.json."""
    write_json(folder / CARD, {"schema": 1, **card})


def extend_card(folder: Path, fields: dict[str, Any]) -> None:
    """Add fields to an outcrop.json, or put them in place of those there."""
    write_json(folder / CARD, {**_json(folder / CARD), **fields})


def _find(name: str, above: tuple[Path, ...]) -> ModelFolder:
    """above: the adapters that led here."""
    path = _locate(Location.parse(name), name)
    _check_is_model(name, path)
    if path.resolve() in above:
        raise ModelError("An adapter is its own base.", f"Name another base in {ADAPTER_CONFIG}.", name)
    card = _json(path / CARD) if (path / CARD).exists() else {}
    if not all(isinstance(card.get(part) or {}, dict) for part in ("base", "rendering", "source")):
        raise ModelError(f"base, rendering and source of {CARD} must be objects.", "Restore the file.", name)
    base = _base(name, path, card, (*above, path.resolve())) if (path / ADAPTER_CONFIG).exists() else None
    return ModelFolder(name, path, base, card)


def _locate(location: Location, name: str) -> Path:
    if location.scheme == "bundled":
        if location.rest not in bundled_names():
            raise ModelError(f"There is no bundled model {location.rest!r}.", _bundled_remedy(location.rest))
        return BUNDLED / location.rest
    if location.scheme == "hf":
        return _fetch(location.rest, name)
    if location.scheme != "file":
        raise ModelError(f"A model cannot be read from {name}.", "Give a folder, bundled:NAME or hf:ORG/NAME.")
    return Path(location.rest).expanduser()


def _bundled_remedy(given: str) -> str:
    names = bundled_names()
    return did_you_mean(given, names) if names else "This installation has none; give a folder or hf:ORG/NAME."


def _fetch(repository: str, name: str) -> Path:
    """The local copy of a hub repository, downloaded where it is not here yet."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingDependency.of("huggingface_hub", "train", f"Fetching {name}") from None
    try:
        return Path(snapshot_download(repository, allow_patterns=list(DOWNLOADED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.')}"
        raise ModelError(
            f"{name} cannot be fetched: {reason}.", "Check the name and the network, or give a local folder."
        ) from None


def _check_is_model(name: str, path: Path) -> None:
    if not path.is_dir():
        what = f"{name} is a file, not a model folder." if path.is_file() else f"There is no model folder {name}."
        raise ModelError(what, _folder_remedy(name, path))
    if not (path / CONFIG).exists() and not (path / ADAPTER_CONFIG).exists():
        raise ModelError(
            f"The folder holds no {CONFIG}, so it is no model.",
            "Give a Hugging Face model or PEFT adapter folder.",
            name,
        )
    for file in (CONFIG, TOKENIZER_CONFIG):
        if (path / file).exists() and "auto_map" in _json(path / file):
            raise ModelError(
                f"{file} names code to run (auto_map); code from model folders is never run.",
                "Use a model whose architecture transformers knows.",
                name,
            )
    if (path / CONFIG).exists():
        check_config(_json(path / CONFIG), path / CONFIG)
    if not list(path.glob("*.safetensors")):
        pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)[:3]
        why = f" (only {', '.join(pickles)}: pickles can run code and are never loaded)" if pickles else ""
        raise ModelError(f"The folder holds no safetensors weights{why}.", "Convert the weights to safetensors.", name)


def _folder_remedy(name: str, path: Path) -> str:
    """What may have been meant: the folder of a file, a neighbour with almost this name, or a model of the hub."""
    if path.is_file():
        return f"Give its folder: {path.parent}"
    near = [str(config.parent) for config in path.parent.glob("*/*config.json")]
    suggestion = did_you_mean(str(path), near)
    if suggestion.startswith("Did you mean"):
        return suggestion
    hub = f", hf:{name}" if HUB_NAME.fullmatch(name) and not name.startswith(".") else ", hf:ORG/NAME"
    return f"Give a folder{hub}{''.join(f', bundled:{each}' for each in bundled_names())}."


def _base(name: str, path: Path, card: dict[str, Any], above: tuple[Path, ...]) -> ModelFolder:
    """The model under an adapter, checked to be the one that the adapter was trained on where its card says which."""
    place = _json(path / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(place, str) or not place:
        raise ModelError(f"{ADAPTER_CONFIG} names no base model.", "Set base_model_name_or_path.", name)
    on_hub = HUB_NAME.fullmatch(place) and not Path(place).exists()
    try:
        base = _find(f"hf:{place}" if on_hub else place, above)
    except ModelError as error:
        raise ModelError(f"The adapter's base model: {error.message}", error.remedy, error.where or name) from None
    wanted = (card.get("base") or {}).get("digest")
    if wanted and wanted != base.digest():
        raise ModelError(
            f"The base model {base.name} is not the one this adapter was trained on (its digest differs).",
            "Restore that base, or tune again.",
            name,
        )
    return base


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} is not JSON: {error}.", "Restore the file.", str(path)) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is not a JSON object.", "Restore the file.", str(path))
    return value


def _stated_licence(readme: Path) -> str:
    """The licence in a model card's front matter, with the name and the link of one that is the maker's own."""
    lines = readme.read_text("utf-8", errors="replace").splitlines() if readme.is_file() else []
    if not lines or lines[0].strip() != "---":
        return ""
    found: dict[str, list[str]] = {}
    key = ""
    for line in takewhile(lambda line: line.strip() != "---", lines[1:]):
        name, colon, value = line.partition(":")
        if colon and re.fullmatch(r"\w+", name):
            key, values = name, value.strip().strip("[]").split(",")
        else:
            values = [line.strip().removeprefix("- ")]
        found.setdefault(key, []).extend(each for text in values if (each := text.strip().strip("\"'")))
    licence, *more = (", ".join(found.get(name, ())) for name in ("license", "license_name", "license_link"))
    described = ", ".join(filter(None, more))
    return f"{licence} ({described})" if licence and described else licence


def _numbers(weights: Path) -> int:
    """A safetensors file is 8 bytes of length, little endian, a JSON header of that length, and the tensors."""
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, weights.stat().st_size)))
        told = (tensor for name, tensor in header.items() if name != "__metadata__" and not name.endswith(SCALE))
        return sum(math.prod(tensor["shape"]) for tensor in told)
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ModelError(f"{weights.name} is not safetensors.", "Restore the file.", str(weights)) from None
