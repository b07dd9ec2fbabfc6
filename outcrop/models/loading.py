"""From a checked folder to a model in memory, with its tokenizer and renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from outcrop.core.errors import ModelError
from outcrop.models import lora
from outcrop.models.folder import ModelFolder, find_model
from outcrop.models.rendering import Renderer, RenderingSpec

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


@dataclass(frozen=True)
class LoadedModel:
    """A transformers causal language model, its tokenizer and the renderer that it was, or will be, trained with."""

    folder: ModelFolder
    model: Any
    tokenizer: Any
    renderer: Renderer

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return int(self.model.config.max_position_embeddings)


def default_device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: ModelFolder) -> Any:
    """The folder's tokenizer, or that of its base. Raises ModelError where there is none."""
    path = folder.path
    if folder.base is not None and not (path / "tokenizer_config.json").exists():
        return load_tokenizer(folder.base)
    try:
        return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The tokenizer cannot be loaded: {error}", "Put tokenizer.json beside the weights.", folder.name
        ) from None


def load_renderer(folder: ModelFolder, tokenizer: Any) -> Renderer:
    """The renderer stored with the model, or the default for its tokenizer."""
    stored = folder.card.get("rendering")
    spec = RenderingSpec.parse(stored, where=folder.name) if stored else RenderingSpec()
    return Renderer(tokenizer, spec, _eos_ids(folder))


def load_model(
    name: str, *, dtype: torch.dtype = torch.float32, merge: bool = True, device: torch.device | None = None
) -> LoadedModel:
    """Load a model by name, in evaluation mode. An adapter is merged into its base unless `merge` is False.

    Raises ModelError for what cannot be loaded safely (models/folder.py) or has no causal language model.
    """
    folder = find_model(name)
    tokenizer = load_tokenizer(folder)
    weights = folder.base or folder
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(weights.path), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The model cannot be loaded: {str(error).splitlines()[0]}", "Check the files of the folder.", name
        ) from None
    if folder.base is not None:
        lora.load_adapter(model, folder.path)
        if merge:
            lora.merge(model)
    model.to(device or default_device()).eval()
    return LoadedModel(folder, model, tokenizer, load_renderer(folder, tokenizer))


def _eos_ids(folder: ModelFolder) -> list[int]:
    config = AutoConfig.from_pretrained(
        str((folder.base or folder).path), local_files_only=True, trust_remote_code=False
    )
    given = config.eos_token_id
    return [given] if isinstance(given, int) else list(given or [])
