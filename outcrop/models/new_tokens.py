"""New tokens for a model: rows of its tables that begin as the mean of the tokens that each was written with.

No text is ever tokenised to them, for no merge of the tokenizer leads there; decoded they are their names.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from outcrop.core.errors import ModelError
from outcrop.models.description import described, rebuilt, size
from outcrop.models.loading import LoadedModel

TABLE_PARTS = ("weight", "bias")


class NewToken(NamedTuple):
    """name: as the tokenizer writes bytes; pieces: the tokens that it was written with."""

    name: str
    pieces: Sequence[int]


class Widened(NamedTuple):
    """A copy of a model and its tokenizer with new tokens. ids: of each, in order."""

    model: Any
    tokenizer: Any
    ids: range


def vocabulary_of(loaded: LoadedModel, what: str, remedy: str) -> dict[str, int]:
    """The ids by their names. Raises ModelError for a model that has such tokens, and for tokenizers in which a token
    cannot be kept out of texts.

    what: that would be tokens.
    """
    if loaded.renderer.spec.label_tokens or loaded.renderer.spec.phrases:
        raise ModelError(f"{loaded.folder.name} has tokens of its own for answers already.", remedy)
    description = described(loaded.tokenizer)
    model, decoder = description["model"], description.get("decoder") or {}
    if model["type"] != "BPE" or model.get("ignore_merges") or decoder.get("type") != "ByteLevel":
        wrong = f"{what} cannot be tokens of {loaded.folder.name}: its tokenizer is no byte-level BPE of merges alone."
        raise ModelError(wrong, remedy)
    return dict(model["vocab"])


def first_new_id(loaded: LoadedModel) -> int:
    """After all that the tables and the tokenizer have."""
    return max(loaded.model.get_input_embeddings().num_embeddings, size(loaded.tokenizer))


def widened(loaded: LoadedModel, tokens: Sequence[NewToken]) -> Widened:
    """The model with the tokens, whose names its vocabulary must not have; it stays as it is itself."""
    first = first_new_id(loaded)
    description = described(loaded.tokenizer)
    description["model"]["vocab"] |= {token.name: first + number for number, token in enumerate(tokens)}
    tokenizer = rebuilt(loaded.tokenizer, description)
    model = _with_rows(loaded.model, first, [token.pieces for token in tokens])
    return Widened(model, tokenizer, range(first, first + len(tokens)))


def _with_rows(model: Any, first: int, pieces: Sequence[Sequence[int]]) -> Any:
    """A copy of the model whose tables have a row for each token, from `first` on."""
    config = copy.deepcopy(model.config)
    config.vocab_size = first + len(pieces)
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    state = {name: tensor.float() for name, tensor in model.state_dict().items()}
    for name, module in model.named_modules():
        for part in TABLE_PARTS:
            if any(module is end for end in ends) and f"{name}.{part}" in state:
                state[f"{name}.{part}"] = _longer(state[f"{name}.{part}"], first, pieces)
    wider = type(model)(config).float().eval()
    wider.load_state_dict(state)
    wider.generation_config = copy.deepcopy(model.generation_config)
    return wider.to(ends[0].weight.device)


def _longer(table: Tensor, first: int, pieces: Sequence[Sequence[int]]) -> Tensor:
    gap = table.new_zeros(first - len(table), *table.shape[1:])
    return torch.cat([table, gap, torch.stack([table[list(ids)].mean(0) for ids in pieces])])
