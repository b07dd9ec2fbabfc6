"""From a trained engine to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outcrop.core.files import Location, write_json
from outcrop.models.folder import ModelFolder
from outcrop.models.loading import LoadedModel
from outcrop.models.lora import save_adapter
from outcrop.models.saving import save_card, save_tokenizer, save_weights
from outcrop.training.engine import TrainingEngine
from outcrop.training.methods import lora_shape
from outcrop.workflows.resolving import ResolvedSpec

PARAMETERS = "parameters.json"


def save_model(folder: Path, loaded: LoadedModel, engine: TrainingEngine, resolved: ResolvedSpec) -> None:
    """Write the weights: a PEFT adapter for LoRA, else a whole model in the dtype it was trained to compute with, so
    that what is served is what was validated."""
    if resolved.spec.method == "lora":
        save_adapter(engine.model, folder, _place(loaded.folder), lora_shape(resolved.spec), engine.flat.state())
        save_tokenizer(loaded, folder)
    else:
        save_weights(loaded, engine.flat.state(), folder, resolved.precision.dtype)


def save_description(folder: Path, loaded: LoadedModel, resolved: ResolvedSpec, card: dict[str, Any]) -> None:
    """Write outcrop.json and, under run/, every parameter with its source."""
    write_json(folder / "run" / PARAMETERS, [vars(entry) for entry in resolved.parameters])
    save_card(
        folder,
        loaded,
        {
            "base": base_of(loaded.folder),
            "hyperparameters": resolved.spec.model_dump(),
            "dtype": str(resolved.precision.dtype).removeprefix("torch."),
            "licence": loaded.folder.licence,
            **card,
        },
    )


def base_of(folder: ModelFolder) -> dict[str, Any] | None:
    """Name, digest and ancestry of a base model; None for a model that is made anew."""
    if not folder.weights:
        return None
    return {"name": folder.name, "digest": folder.digest(), "base": folder.card.get("base")}


def _place(base: ModelFolder) -> str:
    """A base model as PEFT names it: its path, or its name on the hub; what is bundled keeps our name."""
    scheme = Location.parse(base.name).scheme
    return {"hf": base.name.removeprefix("hf:"), "bundled": base.name}.get(scheme, str(base.path.resolve()))
