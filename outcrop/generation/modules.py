"""Any transformers causal model over the slots: its own modules, with our attention in place of theirs.

The slower way, for architectures that the decoder does not know. Shape letters as in decoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from outcrop.generation.adapters import Factors
from outcrop.generation.attention import Attention, Kind, Text
from outcrop.generation.decoder import AnyAdapted, Tokens
from outcrop.generation.inference import inference
from outcrop.generation.limits import NotOfTheFamily
from outcrop.generation.slots import CacheShape
from outcrop.models.lora import adaptable

ATTENTION = "outcrop_slots"


class Modules:
    """Token ids and positions to logits, through the model's forward; the model is left as it was."""

    def __init__(self, model: Any) -> None:
        """Raises NotOfTheFamily for a model whose layers do not hand their attention out, or differ in their heads."""
        self._model = model
        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attend)
        shapes = _Shapes()
        ids = torch.zeros(2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
        try:
            self.logits(Tokens(ids, torch.arange(2, device=ids.device), 1), shapes, None)
        except (TypeError, ValueError, AttributeError, KeyError, RuntimeError, IndexError) as error:
            raise NotOfTheFamily(" ".join(str(error).split())) from error
        if len(set(shapes.seen)) != 1:
            raise NotOfTheFamily("its layers have no attention, or differ in their heads")
        heads, width = shapes.seen[0]
        self.cache_shape = CacheShape(len(shapes.seen), heads, width, model.dtype, ids.device)

    def logits(
        self, tokens: Tokens, attention: Attention, wanted_M: Tensor | None, adapted: AnyAdapted | None = None
    ) -> Tensor:
        """[M, V] after the wanted tokens (None: after all)."""
        with inference(self._model), _attention_of(self._model), self._adapting(adapted):
            output = self._model(
                input_ids=tokens.ids_T[None],
                position_ids=tokens.positions_T[None],
                use_cache=False,
                logits_to_keep=0 if wanted_M is None else wanted_M,
                outcrop_pass=_Pass(attention),
            )
        return output.logits[0]

    def sites(self, weights: Mapping[str, Factors]) -> dict[str, Factors]:
        """An adapter's factors, by layer name, as they are."""
        return dict(weights)

    @contextmanager
    def _adapting(self, adapted: AnyAdapted | None) -> Iterator[None]:
        """Inside, every linear layer adds what the adapters of the pass add."""

        def hook(name: str, _: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
            return None if adapted is None else adapted.add(name, inputs[0][0], output[0])[None]

        layers = adaptable(self._model) if adapted is not None else ()
        handles = [layer.register_forward_hook(partial(hook, name)) for name, layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Pass:
    """An attention, and the number of the layer that comes next."""

    def __init__(self, attention: Attention) -> None:
        self._attention, self._layer = attention, 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, kind: Kind) -> Tensor:
        layer, self._layer = self._layer, self._layer + 1
        return self._attention.attend(layer, q, k, v, kind)


class _Shapes:
    """An attention that looks at its inputs and attends to the values alone."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        if k_TKD.shape != v_TKD.shape:
            raise ValueError("its keys and values have different widths")
        self.seen.append((k_TKD.shape[1], k_TKD.shape[2]))
        return v_TKD.repeat_interleave(q_THD.shape[1] // k_TKD.shape[1], 1).flatten(1)

    def texts(self, ids_T: Tensor) -> Iterator[Text]:
        raise ValueError("there are no slots to read")


def _attend(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any) -> tuple[Tensor, None]:
    """q [1, H, T, D], k, v [1, K, T, D] → [1, T, H, D]; `outcrop_pass` is handed through by transformers."""
    if "outcrop_pass" not in options:
        raise ValueError("it does not hand options through to its attention")
    if mask is not None:
        raise ValueError("it masks its attention itself")
    scale = options.get("scaling") or q.shape[-1] ** -0.5
    window = options.get("sliding_window") or None
    kind = Kind(scale, window, options.get("softcap") or None)
    q_THD, k_TKD, v_TKD = (x[0].transpose(0, 1) for x in (q, k, v))
    return options["outcrop_pass"](q_THD, k_TKD, v_TKD, kind).view(1, *q_THD.shape), None


@contextmanager
def _attention_of(model: Any) -> Iterator[None]:
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}.values()
    before = [(config, config._attn_implementation) for config in configs]
    for config, _ in before:
        config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
