"""From a layout to hidden states at supervised rows, through the blocks of a transformers causal language model.

Our attention enters through transformers' registry. Norms and gated feed-forwards are exchanged for kernels of ours
where a probe shows that they compute the same. Shapes: T flat tokens, M supervised rows, E embedding, H query heads,
K key-value heads, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from outcrop.core.errors import ModelError
from outcrop.models.lora import LoraLinear
from outcrop.training.kernels import DocumentAttention, Embedding, LowRankLinear, RMSNorm, SwiGLU
from outcrop.training.layout import Layout

ATTENTION = "outcrop_documents"


class Trunk:
    """A causal language model without its head, prepared for training on layouts."""

    def __init__(self, model: Any, *, dropout: float = 0.0, recompute: bool = False) -> None:
        self.model, self.decoder = model, model.get_decoder()
        self.head = model.get_output_embeddings()
        if getattr(self.head, "bias", None) is not None:
            raise ModelError(
                "The base model's output layer has a bias, which the loss does not compute.", "Use another base model."
            )
        if getattr(model.config, "final_logit_softcapping", None):
            raise ModelError(
                "The base model caps its logits, which the loss does not compute.", "Use another base model."
            )
        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
        model.set_attn_implementation(ATTENTION)
        for module in list(model.modules()):
            _exchange(module)
        _drop_block_outputs(self.decoder, dropout)
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    def __call__(self, layout: Layout) -> Tensor:
        """Hidden states [M, E] after the final norm, at the supervised rows, in order."""
        embedded = Embedding.apply(layout.ids, self.decoder.get_input_embeddings().weight)
        out = self.decoder(
            inputs_embeds=embedded[None],
            position_ids=layout.positions[None],
            use_cache=False,
            documents=layout.attention,
        )
        return out.last_hidden_state[0].index_select(0, layout.supervised)


def _attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any) -> tuple[Tensor, None]:
    """q [1, H, T, D], k, v [1, K, T, D] → [1, T, H, D]; `documents` is handed through by transformers."""
    if options.get("sliding_window") or options.get("softcap"):
        raise ModelError("The base model uses sliding-window or capped attention, which training does not compute.")
    scale = options.get("scaling") or q.shape[-1] ** -0.5
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))
    return DocumentAttention.apply(q, k, v, scale, options["documents"])[None], None


def _exchange(module: nn.Module) -> None:
    """Give a norm or a gated feed-forward our kernel, if its own forward pass agrees with it on a random input."""
    name = type(module).__name__
    ours: Any = None
    if isinstance(module, LoraLinear):
        width, ours = (
            module.base.in_features,
            lambda x: LowRankLinear.apply(
                x,
                F.dropout(x, module.dropout, module.training) if module.dropout else x,
                module.base.weight,
                module.base.bias,
                module.scale,
                module.lora_A,
                module.lora_B,
            ),
        )
    elif name.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        width, ours = module.weight.shape[0], lambda x: RMSNorm.apply(x, module.weight, module.variance_epsilon)
    elif name.endswith("MLP") and all(hasattr(module, part) for part in ("gate_proj", "up_proj", "down_proj")):
        width, ours = (
            module.config.hidden_size,
            lambda x: module.down_proj(SwiGLU.apply(module.gate_proj(x), module.up_proj(x))),
        )
    if ours is None:
        return
    probe = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    probe = probe.to(next(module.parameters()))
    with torch.no_grad():
        expected = module(probe)
        if torch.allclose(
            ours(probe).float(), expected.float(), rtol=2e-2, atol=1e-5 + 2e-2 * expected.abs().max().item()
        ):
            module.forward = ours


def _drop_block_outputs(decoder: nn.Module, dropout: float) -> None:
    """Dropout on what every attention and feed-forward adds to the residual stream (Vaswani et al. 2017, §5.4)."""
    if not dropout:
        return

    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        if not module.training:
            return output
        first = F.dropout(output[0] if isinstance(output, tuple) else output, dropout)
        return (first, *output[1:]) if isinstance(output, tuple) else first

    for name, module in decoder.named_modules():
        if name.rpartition(".")[2] in ("self_attn", "mlp"):
            module.register_forward_hook(hook)
