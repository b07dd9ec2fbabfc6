"""From a checked folder to a model in memory, with its tokenizer and renderer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from outcrop.core.errors import ModelError
from outcrop.models import lora
from outcrop.models.cascade import CascadeSpec, read_cascade
from outcrop.models.folder import CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, ModelFolder, find_model
from outcrop.models.rendering import Renderer, RenderingSpec

LONGEST_REASON = 300
TOKENIZER_FILES = (TOKENIZER, "tokenizer.model")

_BUILDING = threading.Lock()
"""transformers replaces functions of the whole process while it builds a model: two at once lose tied weights."""

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


@dataclass(frozen=True)
class LoadedModel:
    """A transformers causal language model, its tokenizer and the renderer that it was, or will be, trained with.

    student, rule: of a cascade, whose teacher the model is.
    """

    folder: ModelFolder
    model: Any
    tokenizer: Any
    renderer: Renderer
    student: LoadedModel | None = None
    rule: CascadeSpec | None = None

    @property
    def context(self) -> int:
        """Longest sequence, in tokens. Raises ModelError where the configuration has no limit."""
        limit = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        if not isinstance(limit, int):
            raise ModelError(f"{CONFIG} does not say how long a sequence may be.", "Add max_position_embeddings.")
        return limit

    @property
    def parameters(self) -> int:
        """How many numbers its weights are, those of a cascade's student among them."""
        inside = self.student.parameters if self.student else 0
        return inside + sum(parameter.numel() for parameter in self.model.parameters())


def default_device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: ModelFolder) -> Any:
    """The folder's tokenizer, or that of its base. Raises ModelError where there is none."""
    if folder.base is not None and not (folder.path / TOKENIZER_CONFIG).exists():
        return load_tokenizer(folder.base)
    if not any((folder.path / file).exists() for file in TOKENIZER_FILES):
        raise ModelError("The folder holds no tokenizer.", f"Put {TOKENIZER} beside the weights.", folder.name)
    with _reading("tokenizer", folder):
        return AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)


def load_config(folder: ModelFolder) -> Any:
    """The configuration of the model's decoder, without its weights."""
    with _reading("configuration", folder):
        path = str(folder.root.path)
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    return config.get_text_config(decoder=True)


def load_renderer(folder: ModelFolder, tokenizer: Any) -> Renderer:
    """The renderer stored with the model, or the default for its tokenizer."""
    spec = RenderingSpec.parse(folder.card.get("rendering") or {}, where=folder.name)
    return Renderer(tokenizer, spec, _eos_ids(folder.root), where=folder.name)


def load_model(
    name: str, *, dtype: torch.dtype = torch.float32, merge: bool = True, device: torch.device | None = None
) -> LoadedModel:
    """Load a model by name, in evaluation mode. An adapter is merged into its base unless `merge` is False.

    Raises ModelError for what cannot be loaded safely (models/folder.py) or has no causal language model.
    """
    folder = find_model(name)
    tokenizer = load_tokenizer(folder)
    model = _weights(folder, dtype)
    if folder.base is not None and merge:
        lora.merge(model)
    _check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, name)
    model.to(device or default_device()).eval()
    rule, inside = read_cascade(folder), folder.student
    student = load_model(inside.name, dtype=dtype, device=device) if inside else None
    return LoadedModel(folder, model, tokenizer, load_renderer(folder, tokenizer), student, rule)


def load_structure(folder: ModelFolder) -> Any:
    """The model of a folder without its weights, which take no memory. Raises ModelError."""
    with _BUILDING, _reading("configuration", folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config)


def _weights(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """The model of a folder; the adapter of an adapter folder is attached, those below it are merged."""
    if folder.base is not None:
        model = _weights(folder.base, dtype)
        lora.merge(model)
        lora.load_adapter(model, folder)
        return model
    if "quantization_config" in folder.read(CONFIG):
        raise ModelError("The weights are quantised.", "Take the model's weights in full precision.", folder.name)
    with _BUILDING, _reading("model", folder):
        model, account = AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    wrong = sorted({*account["missing_keys"], *(key for key, *_ in account["mismatched_keys"])})
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing or have another shape than {CONFIG} says: {', '.join(wrong[:3])}.",
            "Restore the files of the folder.",
            folder.name,
        )
    return model


def _check_vocabulary(tokenizer: Any, embeddings: int, name: str) -> None:
    """Padding may lie outside: it is a name that some tokenizers add, and no text renders to it."""
    highest = max(token for text, token in tokenizer.get_vocab().items() if text != tokenizer.pad_token)
    if highest >= embeddings:
        raise ModelError(
            f"The tokenizer has ids up to {highest}, the model embeds {embeddings}.",
            "Put the model's own tokenizer beside its weights.",
            name,
        )


@contextmanager
def _reading(what: str, folder: ModelFolder) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  for a broken file the libraries raise anything, Exception itself too
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        reason = reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " …"
        raise ModelError(
            f"The {what} cannot be read: {reason}.", "Restore the files of the folder.", folder.name
        ) from None


def _eos_ids(folder: ModelFolder) -> list[int]:
    """The ids that end a text, by either configuration file: instruct models name several in generation_config.json."""
    given = [folder.read(file).get("eos_token_id") for file in (CONFIG, GENERATION_CONFIG)]
    flat = [token for ids in given for token in (ids if isinstance(ids, list) else [ids])]
    return sorted({token for token in flat if isinstance(token, int)})
