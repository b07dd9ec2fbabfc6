"""What a model can take, and the refusal of prompts that it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.core.errors import ModelError, UsageError

LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})
"""Kinds of rotary embeddings whose angles change with the length of the batch beyond the length of pre-training."""


class NotOfTheFamily(Exception):
    """The model has a part that a way of computing it does not know; the next way is tried."""


@dataclass(frozen=True)
class Limits:
    """Tokens of context (None: no limit) and size of the vocabulary."""

    context: int | None
    vocabulary: int

    @classmethod
    def of(cls, model: Any) -> Limits:
        """Read from the model. Where angles change with the length, only the length of pre-training is used."""
        config = model.config.get_text_config(decoder=True)
        rope = getattr(config, "rope_parameters", None) or {}
        kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
        contexts = [getattr(config, "max_position_embeddings", None)]
        contexts += [
            kind.get("original_max_position_embeddings") for kind in kinds if kind.get("rope_type") in LENGTH_DEPENDENT
        ]
        known = [context for context in contexts if context]
        return cls(min(known, default=None), model.get_input_embeddings().num_embeddings)

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

    def room(self, prompt_tokens: int, wanted: int) -> int:
        """How many tokens an answer may have."""
        return wanted if self.context is None else min(wanted, self.context - prompt_tokens)


def not_finite() -> ModelError:
    """The refusal of a model that computes no numbers."""
    return ModelError("The model's logits are not finite numbers.", "Check its weights, or use float32.")
