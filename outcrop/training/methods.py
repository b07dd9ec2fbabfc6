"""Which weights a method trains: all of them, or adapters on frozen ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from outcrop.models import lora
from outcrop.training.spec import TrainingSpec


def prepare(model: Any, spec: TrainingSpec) -> dict[str, nn.Parameter]:
    """Make the model ready for the method and return what is to be trained, by name. Output is unchanged."""
    if spec.method == "lora":
        lora.attach(model, lora_shape(spec), seed=spec.seed)
    else:
        model.requires_grad_(True)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def lora_shape(spec: TrainingSpec) -> lora.LoraShape:
    """The adapters that a spec asks for."""
    return lora.LoraShape(spec.lora_rank, spec.lora_alpha, spec.lora_dropout, spec.lora_rslora)


def hidden_matrices(model: Any, parameters: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of the matrices that map hidden states to hidden states: all but embeddings and output head."""
    tables = {id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module}
    return [name for name, parameter in parameters.items() if parameter.dim() == 2 and id(parameter) not in tables]
