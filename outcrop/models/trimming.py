"""Vocabularies cut to a task: every text of the task keeps its tokens, and every kept token its logits.

A byte-level BPE tokenizer that loses merges whose result is not kept still makes the same tokens of every text whose
merges are all kept: the merge it would make next is the same at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from outcrop.core.errors import ModelError
from outcrop.models.description import described, rebuilt
from outcrop.models.loading import LoadedModel
from outcrop.models.rendering import Renderer
from outcrop.models.token_bytes import is_byte

KINDS = ("BPE",)
LONGEST_CHARACTER = 1
"""Tokens of one character are kept: with byte-level BPE they are the bytes, so that every text can be written."""


@dataclass(frozen=True)
class Trimmed:
    """A model with fewer tokens. kept: for each of its ids, the id that it had before."""

    loaded: LoadedModel
    kept: tuple[int, ...]


def can_trim(tokenizer: Any) -> bool:
    """Whether the vocabulary of this tokenizer can be cut."""
    return described(tokenizer)["model"]["type"] in KINDS


def trim(loaded: LoadedModel, texts_ids: Iterable[Sequence[int]]) -> Trimmed:
    """The model and its tokenizer with the tokens of the texts, what they are merged from, single characters and
    special tokens; its embeddings are sliced, the model itself stays as it is.

    texts_ids: the texts of the task as ids. Raises ModelError for a tokenizer of another kind than byte-level BPE.
    """
    if not can_trim(loaded.tokenizer):
        raise ModelError(
            f"The vocabulary of {loaded.folder.name} cannot be cut: its tokenizer is not BPE.", "Leave it whole."
        )
    description = described(loaded.tokenizer)
    labels, phrases = loaded.renderer.spec.label_tokens, loaded.renderer.spec.phrases
    always = [*loaded.renderer.stop_ids, *labels.values(), *(made for _, _, made in phrases)]
    parts = {part for left, right, _ in phrases for part in (left, right)}
    kept = _needed(description, parts | {token for ids in texts_ids for token in ids}, always)
    tokenizer = rebuilt(loaded.tokenizer, _without(description, kept))
    stop_ids = [kept.index(token) for token in loaded.renderer.stop_ids]
    model = _sliced(loaded.model, kept, tokenizer, stop_ids)
    renumbered = {label: kept.index(token) for label, token in labels.items()}
    merges = [(kept.index(left), kept.index(right), kept.index(made)) for left, right, made in phrases]
    spec = loaded.renderer.spec.model_copy(update={"label_tokens": renumbered, "phrases": merges})
    renderer = Renderer(tokenizer, spec, stop_ids, where=loaded.folder.name)
    return Trimmed(LoadedModel(loaded.folder, model, tokenizer, renderer), tuple(kept))


def _needed(description: dict[str, Any], seen: set[int], always: Sequence[int]) -> list[int]:
    """The ids that stay, ascending: those seen, their parts, single characters, added tokens, and those named."""
    model = description["model"]
    vocabulary: dict[str, int] = model["vocab"]
    names = {token: name for name, token in vocabulary.items()}
    parts: dict[str, set[str]] = {}
    for left, right in _merges(model):
        parts.setdefault(left + right, set()).update((left, right))
    added = {token["id"] for token in description["added_tokens"]}
    single = {token for name, token in vocabulary.items() if len(name) <= LONGEST_CHARACTER or is_byte(name)}
    wanted = {names[token] for token in seen | single if token in names}
    pending = list(wanted)
    while pending:
        for part in parts.get(pending.pop(), ()):
            if part in vocabulary and part not in wanted:
                wanted.add(part)
                pending.append(part)
    unknown = {vocabulary[name] for name in (model.get("unk_token"),) if name in vocabulary}
    return sorted({vocabulary[name] for name in wanted} | added | set(always) | unknown)


def _without(description: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The tokenizer's description with the kept tokens alone, numbered anew."""
    number = {token: new for new, token in enumerate(kept)}
    model = description["model"]
    vocabulary = {name: number[token] for name, token in model["vocab"].items() if token in number}
    merges = [[left, right] for left, right in _merges(model) if {left, right, left + right} <= vocabulary.keys()]
    added = [{**token, "id": number[token["id"]]} for token in description["added_tokens"]]
    return {
        **description,
        "model": {**model, "vocab": vocabulary, "merges": merges},
        "added_tokens": added,
        "post_processor": _renumbered(description["post_processor"], number),
    }


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of tokens; older files hold each as one text with a space between."""
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ", 1)) for pair in model["merges"]]


def _renumbered(processor: Any, number: dict[int, int]) -> Any:
    """A post-processor with the ids of its special tokens numbered anew, whichever of the library's kinds it is."""
    if isinstance(processor, list):
        return [_renumbered(part, number) for part in processor]
    if not isinstance(processor, dict):
        return processor
    changed = {name: _renumbered(part, number) for name, part in processor.items()}
    if isinstance(processor.get("ids"), list):
        changed["ids"] = [number[token] for token in processor["ids"]]
    for end in ("sep", "cls"):
        if isinstance(processor.get(end), list):
            changed[end] = [processor[end][0], number[processor[end][1]]]
    return changed


def _sliced(model: Any, kept: Sequence[int], tokenizer: Any, stop_ids: Sequence[int]) -> Any:
    config, embedded = copy.deepcopy(model.config), model.get_input_embeddings().num_embeddings
    kept = [token for token in kept if token < embedded]  # padding may be a name without a row, after all others
    config.vocab_size = len(kept)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    state, rows = model.state_dict(), torch.tensor(kept)
    tables = [name for name, module in model.named_modules() if _is_table(model, module)]
    for name in tables:
        for part in ("weight", "bias"):
            if f"{name}.{part}" in state:
                state[f"{name}.{part}"] = state[f"{name}.{part}"].index_select(
                    0, rows.to(state[f"{name}.{part}"].device)
                )
    smaller = type(model)(config).float().eval()
    smaller.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    smaller.generation_config = copy.deepcopy(model.generation_config)
    smaller.generation_config.bos_token_id = tokenizer.bos_token_id
    smaller.generation_config.pad_token_id = tokenizer.pad_token_id
    smaller.generation_config.eos_token_id = list(stop_ids)
    return smaller


def _is_table(model: Any, module: nn.Module) -> bool:
    return module is model.get_input_embeddings() or module is model.get_output_embeddings()
