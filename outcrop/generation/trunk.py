"""The fastest way to compute a model that is exact: the decoder, the model's modules, or replay; a probe decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from outcrop.core.catalog import Catalog
from outcrop.core.errors import ModelError
from outcrop.generation.adapters import Adapted, Factors, Part, Sites
from outcrop.generation.attention import Attention, Branch, DecodeAttention, Run, RunAttention, TreeAttention
from outcrop.generation.decoder import AnyAdapted, Tokens
from outcrop.generation.inference import inference
from outcrop.generation.limits import NotOfTheFamily, not_finite
from outcrop.generation.slots import CacheShape, Slots

PROBE_TOKENS = 12
TOLERANCE = {torch.float32: 1e-4, torch.int8: 0.2}
"""How far logits may be off, of the largest; in half precision COARSE. With int8 weights inputs are rounded, too."""
COARSE = 0.05


class Trunk(Protocol):
    """Token ids and positions to logits [M, V], its attention over the slots."""

    @property
    def cache_shape(self) -> CacheShape:
        """What one token takes in the cache."""
        ...

    def logits(
        self, tokens: Tokens, attention: Attention, wanted_M: Tensor | None, adapted: AnyAdapted | None = None
    ) -> Tensor:
        """After the wanted tokens (None: after all)."""
        ...

    def sites(self, weights: Mapping[str, Factors]) -> dict[str, Factors]:
        """An adapter's factors, given by layer name, for the products of this trunk."""
        ...


TRUNKS: Catalog[Callable[[Any], Trunk]] = Catalog(
    "way to compute a model",
    {
        "decoder": "outcrop.generation.architecture:read_decoder",
        "modules": "outcrop.generation.modules:Modules",
        "replay": "outcrop.generation.replay:Replay",
    },
)
"""The fastest first; those that need transformers are imported when it is their turn."""


def open_trunk(model: Any) -> Trunk:
    """The decoder with copies of the model's weights, or the model itself. Raises ModelError if nothing is exact."""
    with inference(model):
        probe = _Probe(model)
        for way in TRUNKS:
            try:
                trunk = TRUNKS.load(way)(model)
                distance = probe.distance(trunk)
            except NotOfTheFamily:
                continue
            if distance < probe.tolerance:
                return trunk
    raise ModelError(
        f"{type(model).__name__} cannot be served: what follows a text depends on how it is cut ({distance:.2g}).",
        "Use a causal language model.",
    )


class Among:
    """A trunk after which only some tokens may follow: a classification head's. All others have no likelihood."""

    def __init__(self, trunk: Trunk, tokens: Collection[int], vocabulary: int) -> None:
        self._trunk, self.cache_shape = trunk, trunk.cache_shape
        self._others_V = torch.ones(vocabulary, dtype=torch.bool, device=self.cache_shape.device)
        self._others_V[list(tokens)] = False

    def logits(
        self, tokens: Tokens, attention: Attention, wanted_M: Tensor | None, adapted: AnyAdapted | None = None
    ) -> Tensor:
        """Of the trunk, −∞ for other tokens."""
        return self._trunk.logits(tokens, attention, wanted_M, adapted).masked_fill(self._others_V, -math.inf)

    def sites(self, weights: Mapping[str, Factors]) -> dict[str, Factors]:
        """Of the trunk."""
        return self._trunk.sites(weights)


def has_effect(trunk: Trunk, sites: Sites) -> bool:
    """Whether an adapter changes the logits after a probe text. Raises ModelError if they are no finite numbers."""
    table = trunk.cache_shape
    slots, ids = Slots(table, 1), 1 + torch.arange(PROBE_TOKENS, device=table.device)
    slots.reserve(1, PROBE_TOKENS)
    tokens, runs = Tokens(ids, torch.arange(PROBE_TOKENS, device=table.device), PROBE_TOKENS), [Run(0, 0, PROBE_TOKENS)]
    with torch.inference_mode():
        without = trunk.logits(tokens, RunAttention(slots, runs), None)
        adapted = Adapted([Part(sites, slice(0, PROBE_TOKENS))])
        found = trunk.logits(tokens, RunAttention(slots, runs), None, adapted)
    if not bool(torch.isfinite(found).all()):
        raise not_finite()
    return not torch.equal(without, found)


class _Probe:
    """A text, and what the model makes of it without cache; against it: in pieces, token by token, and as a tree."""

    def __init__(self, model: Any) -> None:
        table = model.get_input_embeddings().weight
        self._ids = 1 + torch.arange(PROBE_TOKENS, device=table.device) * 37 % (len(table) - 1)
        self._expected = model(input_ids=self._ids[None], use_cache=False).logits[0].float()
        if not bool(torch.isfinite(self._expected).all()):
            raise not_finite()
        self.tolerance = TOLERANCE.get(table.dtype, COARSE)

    def distance(self, trunk: Trunk) -> float:
        """The largest difference of logits, as a part of the largest logit."""
        slots = Slots(trunk.cache_shape, 1)
        slots.reserve(1, PROBE_TOKENS)
        device = self._ids.device
        chain_NN = torch.ones(2, 2, dtype=torch.bool, device=device).tril()
        tree = Branch(0, PROBE_TOKENS - 2, chain_NN, torch.arange(2, device=device))
        passes: list[tuple[int, int, Attention]] = [
            (0, 6, RunAttention(slots, [Run(0, 0, 6)])),
            (6, 9, RunAttention(slots, [Run(0, 6, 3)])),
            (9, 10, DecodeAttention(slots, [9])),
            (PROBE_TOKENS - 2, PROBE_TOKENS, TreeAttention(slots, [tree])),
        ]
        found = [
            trunk.logits(Tokens(self._ids[start:end], torch.arange(start, end, device=device), end), attention, None)
            for start, end, attention in passes
        ]
        off = (torch.cat(found).float() - self._expected).abs().max() / self._expected.abs().max()
        return float(off)
