"""One token for each label of a closed set: to answer is one prefill and one product, as with a classification head.

The rows of the output matrix that belong to these tokens are a linear head over the labels. No text is ever tokenised
to them, for no merge leads there; decoded they are the labels. An answer is one of them and ends with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor

from outcrop.core.errors import ModelError
from outcrop.data.records import Pair
from outcrop.models.loading import LoadedModel
from outcrop.models.rendering import Renderer

TABLE_PARTS = ("weight", "bias")


def with_label_tokens(loaded: LoadedModel, labels: Sequence[str]) -> LoadedModel:
    """The model with a token for each label, beginning as the mean of the tokens that it was written with.

    The model itself stays as it is. Raises ModelError for tokenizers in which a token cannot be kept out of texts.
    """
    if loaded.renderer.spec.label_tokens:
        raise ModelError(f"{loaded.folder.name} has labels that are tokens already.", "Use --student auto.")
    described = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    if not _is_plain_bpe(described):
        raise ModelError(
            f"Labels cannot be tokens of {loaded.folder.name}: its tokenizer is no byte-level BPE of merges alone.",
            "Let it write them: --student auto.",
        )
    vocabulary = dict(described["model"]["vocab"])
    rows = loaded.model.get_input_embeddings().num_embeddings
    taken = {*vocabulary.values(), *(token["id"] for token in described["added_tokens"])}
    first = max(rows, *(token + 1 for token in taken))
    pieces = [loaded.renderer.answer(Pair("a", label), label)[:-1] for label in labels]
    ids = {label: first + number for number, label in enumerate(labels)}
    for label in labels:
        vocabulary[_name(label, vocabulary)] = ids[label]
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer._tokenizer = Tokenizer.from_str(
        json.dumps({**described, "model": {**described["model"], "vocab": vocabulary}})
    )
    spec = loaded.renderer.spec.model_copy(update={"label_tokens": ids})
    renderer = Renderer(tokenizer, spec, loaded.renderer.stop_ids, where=loaded.folder.name)
    return LoadedModel(loaded.folder, _widened(loaded.model, first, pieces), tokenizer, renderer)


def _is_plain_bpe(described: dict[str, Any]) -> bool:
    model, decoder = described["model"], described.get("decoder") or {}
    return model["type"] == "BPE" and not model.get("ignore_merges") and decoder.get("type") == "ByteLevel"


def _name(label: str, vocabulary: dict[str, int]) -> str:
    """The label as the tokenizer writes bytes, with a space before it, or more where that is a token already."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = f" {label}"
    while (name := "".join(piece for piece, _ in byte_level.pre_tokenize_str(text))) in vocabulary:
        text = f" {text}"
    return name


def _widened(model: Any, first: int, pieces: Sequence[Sequence[int]]) -> Any:
    """A copy of the model whose tables have a row for each label, from `first` on."""
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
