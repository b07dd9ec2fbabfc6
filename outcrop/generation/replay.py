"""The last resort: any causal model, its whole text computed anew for every token.

For architectures that keep other states than keys and values, or put positions into their attention by themselves.
Slots hold the text itself in place of keys, so that the scheduler, prefixes and scoring work as with any trunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from outcrop.core.errors import ModelError
from outcrop.generation.adapters import Factors
from outcrop.generation.attention import Attention
from outcrop.generation.decoder import AnyAdapted, Tokens
from outcrop.generation.inference import inference
from outcrop.generation.slots import CacheShape


class Replay:
    """Token ids to logits, through the model's own forward, one text at a time."""

    def __init__(self, model: Any) -> None:
        self._model = model
        device = model.get_input_embeddings().weight.device
        self.cache_shape = CacheShape(1, 1, 1, torch.int64, device)

    def logits(
        self, tokens: Tokens, attention: Attention, wanted_M: Tensor | None, adapted: AnyAdapted | None = None
    ) -> Tensor:
        """[M, V] after the wanted tokens (None: after all)."""
        assert adapted is None, "no adapter was let in"
        with inference(self._model):
            found = [
                self._model(input_ids=text.ids_S[None], use_cache=False).logits[0, -text.last :]
                for text in attention.texts(tokens.ids_T)
            ]
        logits_TV = torch.cat(found)
        return logits_TV if wanted_M is None else logits_TV[wanted_M]

    def sites(self, weights: Mapping[str, Factors]) -> dict[str, Factors]:
        """Raises ModelError: there is no place for adapters of single tokens."""
        raise ModelError(
            f"{type(self._model).__name__} takes no adapters beside each other.", "Load the adapter folder as a model."
        )
