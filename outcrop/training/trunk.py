"""From a layout to hidden states at supervised rows, through the blocks of a transformers causal language model.

Our attention enters through transformers' registry. Norms, gated feed-forwards and adapters are exchanged for kernels
of ours where a probe shows that they compute the same. Shapes: T flat tokens, M supervised rows, E embedding,
H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from outcrop.core.errors import ModelError
from outcrop.models.lora import LoraLinear
from outcrop.training.attention import attend
from outcrop.training.kernels import Embedding, LowRankLinear, SwiGLU, rms_norm
from outcrop.training.layout import Layout, Segment, lay_out

ATTENTION = "outcrop_documents"
BLOCKS = ("self_attn", "attn", "attention", "mlp")
"""What transformers calls the two parts of a layer."""


class Trunk:
    """A causal language model without its head, prepared for training on layouts, and put into evaluation mode.

    dropout: on the output of every attention and feed-forward, in place of the model's own dropouts; recompute:
    gradient checkpointing. Raises ModelError for a model that this way of computing does not reproduce exactly.
    """

    def __init__(self, model: Any, *, dropout: float = 0.0, recompute: bool = False) -> None:
        self.model, self.decoder = model.eval(), model.get_decoder()
        self.embedding, self.head = self.decoder.get_input_embeddings(), model.get_output_embeddings()
        self.longest = _longest_exact(model.config)
        probe = _Probe(model) if model.config._attn_implementation != ATTENTION else None
        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
        model.set_attn_implementation(ATTENTION)
        for module in list(model.modules()):
            _exchange(module)
            _silence(module)
        self._ends: Tensor | None = None
        if not recompute:  # which comes back to a layer when its layout is gone
            self._leave_out_what_nobody_sees()
        if probe:
            probe.check(self)
        if dropout:
            _drop_block_outputs(model, dropout)
        if recompute and not model.supports_gradient_checkpointing:
            raise ModelError(
                f"{type(model).__name__} cannot recompute activations.", "Leave --gradient-checkpointing out."
            )
        if recompute:
            model.activation_checkpointing_enable()

    def __call__(self, layout: Layout) -> Tensor:
        """Hidden states [M, E] after the final norm, at the supervised rows, in order.

        Raises ModelError for documents longer than the model's attention reaches.
        """
        if self.longest is not None:
            _refuse_longer(layout.attention.longest, self.longest)
        table = self.embedding.weight
        plain = type(self.embedding) is nn.Embedding
        embedded = Embedding.apply(layout.ids, table) if plain else self.embedding(layout.ids)
        self._ends = layout.ends
        try:
            out = self.decoder(
                inputs_embeds=embedded[None],
                position_ids=layout.positions[None],
                use_cache=False,
                documents=layout.attention,
            )
        finally:
            self._ends = None
        return out.last_hidden_state[0].index_select(0, layout.supervised)

    def _leave_out_what_nobody_sees(self) -> None:
        """In the last layer only supervised rows go through the feed-forward: of the others nothing is asked, and no
        row sees another any more. For a feed-forward of which it is known what it computes."""
        layers: Any = getattr(self.decoder, "layers", None) or ()
        last = getattr(layers[-1], "mlp", None) if len(layers) else None
        if last is None or "forward" not in vars(last):
            return
        whole = last.forward

        def partly(x: Tensor) -> Tensor:
            if self._ends is None:
                return whole(x)
            return torch.zeros_like(x).index_copy(1, self._ends, whole(x.index_select(1, self._ends)))

        last.forward = partly


class _Probe:
    """Two documents that share their beginning, and what the model makes of each alone before anything is exchanged.

    It sees whatever training leaves out or mixes up: capped, scaled or biased logits, positions in the attention
    mask, states that run through from document to document.
    """

    def __init__(self, model: Any) -> None:
        self.name, device = type(model).__name__, next(model.parameters()).device
        ids = 1 + np.arange(18) * 37 % (len(model.get_input_embeddings().weight) - 1)
        self.documents = [ids[:8], np.concatenate([ids[:6], ids[8:]])]
        with torch.no_grad():
            logits = [model(input_ids=torch.from_numpy(d)[None].to(device)).logits[0] for d in self.documents]
        self.expected = torch.cat([rows[6:-1] for rows in logits]).float()

    def check(self, trunk: Trunk) -> None:
        """Raises ModelError unless the trunk and the head give the same logits, in training mode too."""
        weights = [np.r_[np.zeros(7, np.float32), np.ones(len(d) - 7, np.float32)] for d in self.documents]
        layout = lay_out([Segment(*pair) for pair in zip(self.documents, weights, strict=True)])
        trunk.model.train()
        try:
            with torch.no_grad():
                found = F.linear(trunk(layout.to(self.expected.device)), trunk.head.weight).float()
        except (TypeError, ValueError, AttributeError) as error:
            raise _unsupported(self.name, str(error)) from error
        finally:
            trunk.model.eval()
        off = float((found - self.expected).norm() / self.expected.norm())
        if not off < (1e-4 if trunk.head.weight.dtype == torch.float32 else 5e-2):
            raise _unsupported(self.name, f"its logits are off by {off:.2g} of their size")


def _unsupported(name: str, reason: str) -> ModelError:
    return ModelError(f"{name} cannot be trained here: {reason}.", "Use a base model of another architecture.")


def _refuse_longer(found: int, longest: int) -> None:
    if found > longest:
        raise ModelError(
            f"A row of {found} tokens is longer than the {longest} over which this base model attends fully.",
            f"Use --max-length {longest} and say with --over-long what to do with longer rows.",
        )


def _longest_exact(config: Any) -> int | None:
    """Up to this length a document is computed exactly: within windows that come as masks, which are not made here,
    and while positions do not depend on how long the neighbours are."""
    kinds = getattr(config, "layer_types", None)
    windowed = kinds is None or any("sliding" in kind for kind in kinds)
    limits = [config.sliding_window] if windowed and getattr(config, "sliding_window", None) else []
    if getattr(config, "attention_chunk_size", None):
        limits.append(config.attention_chunk_size)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds_of_rope = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    limits += [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds_of_rope
        if kind.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(limits, default=None)


def _attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any) -> tuple[Tensor, None]:
    """q [1, H, T, D], k, v [1, K, T, D] → [1, T, H, D]; `documents` is handed through by transformers."""
    if "documents" not in options:
        raise _unsupported(type(module).__name__, "it does not tell its attention where documents end")
    if options.get("softcap"):
        raise _unsupported(type(module).__name__, "it caps its attention scores")
    if options.get("sliding_window"):
        _refuse_longer(options["documents"].longest, options["sliding_window"])
    scale = options.get("scaling") or q.shape[-1] ** -0.5
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))
    return attend(q, k, v, scale, options["documents"])[None], None


def _exchange(module: Any) -> None:
    """Give a module our kernel, if there is one and its own forward pass agrees with it on a random input."""
    width, ours = _kernel(module)
    if ours is None:
        return
    probe = torch.randn(2, width, generator=torch.Generator().manual_seed(0)).to(next(module.parameters()))
    tolerance = 1e-5 if probe.dtype == torch.float32 else 2e-2
    with torch.no_grad():
        expected, found = module(probe).float(), ours(probe).float()
    if torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        module.forward = ours


def _kernel(module: Any) -> tuple[int, Callable[[Tensor], Tensor] | None]:
    """The width of a module's input, and what would compute the same in less time."""
    name = type(module).__name__
    if isinstance(module, LoraLinear):
        return module.base.in_features, lambda x: _adapted(module, x)
    if name.endswith("RMSNorm") and all(hasattr(module, part) for part in ("weight", "variance_epsilon")):
        return len(module.weight), lambda x: rms_norm(x, module.weight, module.variance_epsilon)
    if name.endswith("MLP") and all(hasattr(module, part) for part in ("gate_proj", "up_proj", "down_proj")):
        gate = module.gate_proj.base if isinstance(module.gate_proj, LoraLinear) else module.gate_proj
        return gate.in_features, lambda x: module.down_proj(SwiGLU.apply(module.gate_proj(x), module.up_proj(x)))
    return 0, None


def _adapted(layer: LoraLinear, x: Tensor) -> Tensor:
    dropped = F.dropout(x, layer.dropout, layer.training) if layer.dropout else x
    return LowRankLinear.apply(
        x, dropped, (layer.base.weight, layer.base.bias), layer.scale, layer.lora_A, layer.lora_B
    )


def _silence(module: Any) -> None:
    """Set a module's own dropout rates to 0: what is dropped is said by our parameters alone."""
    if isinstance(module, nn.Dropout):
        module.p = 0.0
    elif not isinstance(module, LoraLinear):
        for name in [name for name, value in vars(module).items() if "drop" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)


def _drop_block_outputs(model: Any, dropout: float) -> None:
    """Dropout on what every attention and feed-forward adds to the residual stream (Vaswani et al. 2017, §5.4)."""

    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        if not module.training:
            return output
        first = F.dropout(output[0] if isinstance(output, tuple) else output, dropout)
        return (first, *output[1:]) if isinstance(output, tuple) else first

    blocks = [module for name, module in model.named_modules() if name.rpartition(".")[2] in BLOCKS]
    if len(blocks) != 2 * model.config.num_hidden_layers:
        raise ModelError(
            f"The layers of {type(model).__name__} are not attention and feed-forward: --dropout has no place there.",
            "Leave --dropout out.",
        )
    for block in blocks:
        block.register_forward_hook(hook)
