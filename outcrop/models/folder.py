"""Model folders: where a model's name leads, what may lie there, and its outcrop.json. No torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import MissingDependency, ModelError, did_you_mean
from outcrop.core.files import Location, digest, write_json

BUNDLED = Path(__file__).parent / "bundled"
CARD = "outcrop.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DOWNLOADED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "LICENSE*", "README.md")


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

    def digest(self) -> str:
        """One digest of weights, configuration and tokenizer: the identity of this model."""
        total = hashlib.sha256((self.base.digest() if self.base else "").encode())
        names = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json")
        for path in [*self.weights, *(self.path / name for name in names)]:
            if path.exists():
                total.update(f"{path.name} {digest(path)}\n".encode())
        return f"sha256:{total.hexdigest()}"


def bundled_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.name for path in BUNDLED.iterdir() if (path / "config.json").exists())


def find_model(name: str) -> ModelFolder:
    """Resolve a folder, "bundled:NAME" or "hf:ORG/NAME" to a checked folder.

    Raises ModelError for a folder that is missing, holds code or pickles instead of safetensors, or is no model.
    """
    return _checked(name, _locate(Location.parse(name), name))


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write outcrop.json."""
    write_json(folder / CARD, {"schema": 1, **card})


def _locate(location: Location, name: str) -> Path:
    if location.scheme == "bundled":
        if location.rest not in bundled_names():
            raise ModelError(
                f"There is no bundled model {location.rest!r}.", did_you_mean(location.rest, bundled_names())
            )
        return BUNDLED / location.rest
    if location.scheme == "hf":
        try:
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
        except ImportError:
            raise MissingDependency.of("huggingface_hub", "train", f"Fetching {name}") from None
        try:
            return Path(snapshot_download(location.rest, allow_patterns=list(DOWNLOADED)))
        except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
            raise ModelError(
                f"{name} cannot be fetched: {type(error).__name__}.",
                "Check the name and the network, or give a local folder.",
            ) from None
    if location.scheme != "file":
        raise ModelError(f"A model cannot be read from {name}.", "Give a folder, bundled:NAME or hf:ORG/NAME.")
    return Path(location.rest).expanduser()


def _checked(name: str, path: Path) -> ModelFolder:
    if not path.is_dir():
        raise ModelError(
            f"There is no model folder {name}.",
            f"Give a folder, hf:ORG/NAME or one of: bundled:{', bundled:'.join(bundled_names())}.",
        )
    card = _json(path / CARD) if (path / CARD).exists() else {}
    adapter = path / "adapter_config.json"
    if not (path / "config.json").exists() and not adapter.exists():
        raise ModelError(
            "The folder holds no config.json, so it is no model.",
            "Give a Hugging Face model or PEFT adapter folder.",
            name,
        )
    for config in ("config.json", "tokenizer_config.json"):
        if (path / config).exists() and "auto_map" in _json(path / config):
            raise ModelError(
                f"{config} names code to run (auto_map); code from model folders is never run.",
                "Use a model whose architecture transformers knows.",
                name,
            )
    if not list(path.glob("*.safetensors")):
        pickles = [file.name for file in path.iterdir() if file.suffix in PICKLES]
        found = (
            f" (only {', '.join(sorted(pickles)[:3])}: pickles can run code and are never loaded)" if pickles else ""
        )
        raise ModelError(
            f"The folder holds no safetensors weights{found}.", "Convert the weights to safetensors.", name
        )
    base = None
    if adapter.exists():
        base = find_model(str(_json(adapter)["base_model_name_or_path"]))
        wanted = card.get("base", {}).get("digest")
        if wanted and wanted != base.digest():
            raise ModelError(
                f"The base model {base.name} is not the one this adapter was trained on (its digest differs).",
                "Restore that base, or tune again.",
                name,
            )
    return ModelFolder(name, path, base, card)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} is not JSON: {error}.", "Restore the file.", str(path)) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is not a JSON object.", "Restore the file.", str(path))
    return value
