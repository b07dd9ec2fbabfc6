"""From a checked folder to a model in memory, with its tokenizer and renderer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from outcrop.core.catalog import Catalog
from outcrop.core.errors import MissingDependency, ModelError
from outcrop.models import lora
from outcrop.models.cascade import CascadeSpec, read_cascade
from outcrop.models.file_checks import check_named_template, check_template_file
from outcrop.models.folder import (
    CARD,
    CHAT_TEMPLATE,
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    ModelFolder,
    find_model,
)
from outcrop.models.llama import read_llama, read_llama_config
from outcrop.models.rendering import Renderer, RenderingSpec
from outcrop.models.tokenizer_folder import read_plain_tokenizer

TOKENIZER_FILES = (TOKENIZER, "tokenizer.model")

ReadWeights = Callable[[ModelFolder, torch.dtype], Any]

TRANSFORMERS: Catalog[Callable[..., Any]] = Catalog(
    "part of a model folder",
    {
        "config": "outcrop.models.transformers_folder:read_config",
        "structure": "outcrop.models.transformers_folder:read_structure",
        "tokenizer": "outcrop.models.transformers_folder:read_tokenizer",
        "weights": "outcrop.models.transformers_folder:read_weights",
    },
)
"""What transformers reads of a folder. Its import takes seconds, which an answer of a plain model need not wait for."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model, its tokenizer and the renderer that it was, or will be, trained with.

    Both are of transformers, or have as much of its interface as answering needs (`open_model`).
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
    """The folder's tokenizer, or that of its base. Raises ModelError where there is none, or it is broken."""
    return _transformers("tokenizer")(_with_tokenizer(folder))


def open_tokenizer(folder: ModelFolder) -> Any:
    """As `load_tokenizer`, to answer with: without transformers where the folder is plain."""
    holder = _with_tokenizer(folder)
    return read_plain_tokenizer(holder) or _transformers("tokenizer")(holder)


def open_config(folder: ModelFolder) -> Any:
    """The configuration of the model's decoder, without its weights. Raises ModelError."""
    return read_llama_config(folder.root) or _transformers("config")(folder.root).get_text_config(decoder=True)


def load_structure(folder: ModelFolder) -> Any:
    """The model of a folder without its weights, which take no memory. Raises ModelError."""
    return _transformers("structure")(folder)


def load_renderer(folder: ModelFolder, tokenizer: Any) -> Renderer:
    """The renderer stored with the model, or with its base, or the default for its tokenizer."""
    holder = folder
    while holder.base is not None and "rendering" not in holder.card:
        holder = holder.base
    spec = RenderingSpec.parse(holder.card.get("rendering") or {}, where=holder.name)
    return Renderer(
        tokenizer, spec, _eos_ids(folder.root), where=folder.name, template_place=_template_place(holder, spec)
    )


def load_model(
    name: str, *, dtype: torch.dtype = torch.float32, merge: bool = True, device: torch.device | None = None
) -> LoadedModel:
    """Load a model by name, in evaluation mode. An adapter is merged into its base unless `merge` is False.

    Raises ModelError for what cannot be loaded safely (models/folder.py) or has no causal language model.
    """
    folder = find_model(name)
    tokenizer = load_tokenizer(folder)
    model = _weights(folder, dtype, _transformers("weights"))
    if folder.base is not None and merge:
        lora.merge(model)
    inside = folder.student
    student = load_model(inside.name, dtype=dtype, device=device) if inside else None
    return _loaded(folder, model, tokenizer, student, device)


def open_model(name: str) -> LoadedModel:
    """As `load_model`, in fp32 and merged, to answer with: without transformers where the folder is a plain Llama."""
    folder = find_model(name)
    tokenizer = open_tokenizer(folder)
    model = _weights(folder, torch.float32, _open_weights)
    if folder.base is not None:
        lora.merge(model)
    student = open_model(folder.student.name) if folder.student else None
    return _loaded(folder, model, tokenizer, student, None)


def _open_weights(folder: ModelFolder, dtype: torch.dtype) -> Any:
    return read_llama(folder, dtype) or _transformers("weights")(folder, dtype)


def _transformers(part: str) -> Callable[..., Any]:
    try:
        return TRANSFORMERS.load(part)
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error.name or "transformers", "train", "Reading this model folder") from error


def _with_tokenizer(folder: ModelFolder) -> ModelFolder:
    """The folder whose tokenizer belongs to a model: its own, or its base. Raises ModelError where there is none."""
    if folder.base is not None and not (folder.path / TOKENIZER_CONFIG).exists():
        return _with_tokenizer(folder.base)
    if not any((folder.path / file).exists() for file in TOKENIZER_FILES):
        raise ModelError("The folder holds no tokenizer.", f"Put {TOKENIZER} beside the weights.", folder.name)
    if (folder.path / CHAT_TEMPLATE).exists():
        check_template_file(folder.path / CHAT_TEMPLATE)
    check_named_template(folder.read(TOKENIZER_CONFIG).get("chat_template"), folder.path / TOKENIZER_CONFIG)
    return folder


def _template_place(folder: ModelFolder, spec: RenderingSpec) -> str:
    """The file that the chat template of a folder's renderer is from; none for the default one."""
    if spec.chat_template:
        return f"{folder.path / CARD}: rendering: chat_template"
    holder = _with_tokenizer(folder)
    if (holder.path / CHAT_TEMPLATE).exists():
        return str(holder.path / CHAT_TEMPLATE)
    named = holder.read(TOKENIZER_CONFIG).get("chat_template")
    return f"{holder.path / TOKENIZER_CONFIG}: chat_template" if named else ""


def _weights(folder: ModelFolder, dtype: torch.dtype, read: ReadWeights) -> Any:
    """The model of a folder; the adapter of an adapter folder is attached, those below it are merged."""
    if folder.base is None:
        return read(folder, dtype)
    model = _weights(folder.base, dtype, read)
    lora.merge(model)
    lora.load_adapter(model, folder)
    return model


def _loaded(
    folder: ModelFolder, model: Any, tokenizer: Any, student: LoadedModel | None, device: torch.device | None
) -> LoadedModel:
    """Raises ModelError where tokenizer and model do not belong together."""
    _check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, folder.name)
    model.to(device or default_device()).eval()
    return LoadedModel(folder, model, tokenizer, load_renderer(folder, tokenizer), student, read_cascade(folder))


def _check_vocabulary(tokenizer: Any, embeddings: int, name: str) -> None:
    """Padding may lie outside: it is a name that some tokenizers add, and no text renders to it."""
    padding = tokenizer.pad_token
    highest = max(token for text, token in tokenizer.get_vocab().items() if text != padding)
    if highest >= embeddings:
        raise ModelError(
            f"The tokenizer has ids up to {highest}, the model embeds {embeddings}.",
            "Put the model's own tokenizer beside its weights.",
            name,
        )


def _eos_ids(folder: ModelFolder) -> list[int]:
    """The ids that end a text, by either configuration file: instruct models name several in generation_config.json."""
    given = [folder.read(file).get("eos_token_id") for file in (CONFIG, GENERATION_CONFIG)]
    flat = [token for ids in given for token in (ids if isinstance(ids, list) else [ids])]
    return sorted({token for token in flat if isinstance(token, int)})
