"""Prompts of different lengths in one forward pass, exactly: token budgets, left padding, shared prefixes, KV caches.

Shape letters: B rows, S new tokens of each row, W columns of the cache (padding included), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from outcrop.core.errors import ModelError, UsageError

# Below these the extra forward pass over the prefix costs more than it saves.
SHARED_PREFIX_TOKENS = 32
SHARED_PREFIX_PORTION = 0.3


@dataclass(frozen=True)
class Limits:
    """What a model can take: tokens of context, size of its vocabulary, narrowest sliding window (None: no limit)."""

    context: int | None
    vocabulary: int
    window: int | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Limits:
        """Read from the model. Raises ModelError for layers that keep anything else than keys and values."""
        config = model.config.get_text_config(decoder=True)
        layers = DynamicCache(config=model.config).layers
        kinds = {type(layer).__name__ for layer in layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__}
        kinds |= {"chunked_attention"} & set(getattr(config, "layer_types", None) or ())
        if kinds:
            raise ModelError(
                f"The embedded engine cannot pad and share the state of these layers: {', '.join(sorted(kinds))}.",
                "Use a model whose layers all have full or sliding-window attention.",
            )
        windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        context = getattr(config, "max_position_embeddings", None)
        return cls(context, model.get_input_embeddings().num_embeddings, min(windows, default=None))

    def can_share(self, width: int) -> bool:
        """Whether rows that will grow to `width` columns may have padding after a shared prefix.

        Sliding windows count columns, padding too, so they must not begin to slide.
        """
        return self.window is None or width <= self.window

    def check(self, ids: Sequence[int], new_tokens: int, where: str) -> None:
        """Raise UsageError if `ids` is no prompt, or if it and `new_tokens` more do not fit the context."""
        if not ids:
            raise UsageError("The prompt has no tokens.", "Give at least one, for example the BOS token.", where)
        self.check_ids(ids, where)
        if self.context is not None and len(ids) + new_tokens > self.context:
            raise UsageError(
                f"The prompt has {len(ids)} tokens; with {new_tokens} more the model's context "
                f"of {self.context} tokens is exceeded.",
                "Shorten the prompt, show fewer examples, or take a model with a longer context.",
                where,
            )

    def check_ids(self, ids: Sequence[int], where: str) -> None:
        """Raise UsageError if an id is none of the model's vocabulary."""
        for token in (min(ids), max(ids)):
            if not 0 <= token < self.vocabulary:
                raise UsageError(
                    f"Token id {token} is not in the model's vocabulary of {self.vocabulary} tokens.",
                    "Use the tokenizer that belongs to the model.",
                    where,
                )


@contextmanager
def inference(model: PreTrainedModel) -> Iterator[None]:
    """No gradients and no dropout inside; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def finite(normalisers: torch.Tensor) -> torch.Tensor:
    """The log-sums of exponentials of logits, unchanged. Raises ModelError if one is no finite number."""
    if not bool(torch.isfinite(normalisers).all()):
        raise ModelError("The model's logits are not finite numbers.", "Check its weights, or use float32.")
    return normalisers


def plan_batches(widths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of all rows in batches, widest first, with rows × widest ≤ budget; a row wider than that goes alone."""
    order = sorted(range(len(widths)), key=lambda row: -widths[row])
    batches = []
    while order:
        rows = max(1, budget // max(1, widths[order[0]]))
        batches.append(order[:rows])
        order = order[rows:]
    return batches


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving at least one of each to itself; 0 if not worth sharing."""
    shortest, *others = sorted(prompts, key=len)
    if not others:
        return 0
    length = len(shortest) - 1
    for other in others:
        length = next((at for at in range(length) if other[at] != shortest[at]), length)
    worth = length >= SHARED_PREFIX_TOKENS and length * len(prompts) >= SHARED_PREFIX_PORTION * sum(map(len, prompts))
    return length if worth else 0


class Padded(NamedTuple):
    """Rows padded on the left with token 0; `attended_BS` is 1 where there is a token."""

    tokens_BS: torch.Tensor
    attended_BS: torch.Tensor


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> Padded:
    """Rows of token ids as two rectangles of int64."""
    width = max(len(row) for row in rows)
    tokens = [[0] * (width - len(row)) + list(row) for row in rows]
    attended = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return Padded(torch.tensor(tokens, device=device), torch.tensor(attended, device=device))


@dataclass
class CachedRows:
    """The keys and values of B rows, the columns each row attends to (1) or not (0), and its count of tokens."""

    model: PreTrainedModel
    cache: DynamicCache
    attended_BW: torch.Tensor
    lengths_B: torch.Tensor

    def extend(self, tokens_BS: torch.Tensor, attended_BS: torch.Tensor) -> torch.Tensor:
        """Feed left-padded tokens to every row; the logits after the last one, [B, V] in the model's dtype."""
        self.attended_BW = torch.cat([self.attended_BW, attended_BS], dim=1)
        positions_BS = self.lengths_B[:, None] + attended_BS.cumsum(1) - 1
        self.lengths_B = self.lengths_B + attended_BS.sum(1)
        output = self.model(
            input_ids=tokens_BS,
            attention_mask=self.attended_BW,
            position_ids=positions_BS.clamp(min=0),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def repeat(self, rows: int) -> None:
        """Make `rows` rows out of one, without copying its keys and values."""
        for layer in self.cache.layers:
            layer.keys = layer.keys.expand(rows, *layer.keys.shape[1:])
            layer.values = layer.values.expand(rows, *layer.values.shape[1:])
        self.attended_BW = self.attended_BW.expand(rows, -1)
        self.lengths_B = self.lengths_B.expand(rows)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        index = torch.tensor(rows, device=self.lengths_B.device)
        self.cache.batch_select_indices(index)
        self.attended_BW, self.lengths_B = self.attended_BW[index], self.lengths_B[index]


class Prefilled(NamedTuple):
    """Prompts in the cache, and the logits of the token after each."""

    rows: CachedRows
    logits_BV: torch.Tensor


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], share: bool) -> Prefilled:
    """Feed a batch of prompts. share: compute a long common prefix once (see Limits.can_share)."""
    device = model.get_input_embeddings().weight.device
    none = torch.zeros(len(prompts), 0, dtype=torch.long, device=device)
    # A cache without the config has no sliding layers: all columns stay, and the mask alone narrows the window.
    rows = CachedRows(model, DynamicCache(), none, none.sum(1))
    prefix = shared_prefix(prompts) if share else 0
    if prefix:
        rows.attended_BW, rows.lengths_B = none[:1], none[:1].sum(1)
        rows.extend(*pad_left([prompts[0][:prefix]], device))
        rows.repeat(len(prompts))
    return Prefilled(rows, rows.extend(*pad_left([prompt[prefix:] for prompt in prompts], device)))
