"""Plain Llama folders (Touvron et al. 2023) without transformers, whose import takes longer than a short answer.

Modules have the names that transformers gives them, so that adapters and the decoder find the same parts.
Shape letters: B rows, S length, H query heads, K key-value heads, D head width, E hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from outcrop.models.folder import CONFIG, ModelFolder
from outcrop.models.int8 import WEIGHTS, as_floats, hold_in_int8

INDEX = "model.safetensors.index.json"
"""Says which of several files of weights holds which tensor."""
BASE = 10_000.0
"""Of the angles, where no folder names one."""
PLAIN_ANGLES = {"rope_type", "rope_theta"}
LLAMA3_ANGLES = PLAIN_ANGLES | {
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"
}  # fmt: skip


class LlamaConfig(BaseModel):
    """A config.json that nothing else is said in: a field that is missing, unknown or of another kind is refused.

    What older folders leave out or say at another place is put where it is now.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model_type: Literal["llama"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_dim: PositiveInt
    max_position_embeddings: PositiveInt
    rms_norm_eps: float
    rope_parameters: dict[str, str | float]
    tie_word_embeddings: bool
    hidden_act: Literal["silu"]
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    pretraining_tp: Literal[1] = 1
    quantization_config: dict[Literal["quant_method"], Literal["outcrop-int8"]] | None = None

    # Answers do not depend on these, or they are read elsewhere.
    architectures: Any = None
    attention_dropout: Any = None
    bos_token_id: Any = None
    dtype: Any = None
    eos_token_id: Any = None
    initializer_range: Any = None
    is_llama_config: Any = None
    pad_token_id: Any = None
    rope_interleaved: Any = None
    torch_dtype: Any = None
    transformers_version: Any = None
    use_cache: Any = None

    @model_validator(mode="before")
    @classmethod
    def _as_now(cls, given: dict[str, Any]) -> dict[str, Any]:
        movable = ("rope_parameters", "rope_scaling", "num_key_value_heads", "head_dim")
        fields = {name: value for name, value in given.items() if value is not None or name not in movable}
        if "rope_parameters" not in fields:
            plain = {"rope_type": "default", "rope_theta": fields.pop("rope_theta", BASE)}
            fields["rope_parameters"] = plain | fields.pop("rope_scaling", {})
        width, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
        if isinstance(width, int) and isinstance(heads, int) and heads:
            fields = {"num_key_value_heads": heads, "head_dim": width // heads} | fields
        return fields

    @model_validator(mode="after")
    def _is_plain(self) -> Self:
        rope = self.rope_parameters
        if set(rope) != {"default": PLAIN_ANGLES, "llama3": LLAMA3_ANGLES}.get(str(rope.get("rope_type"))):
            raise ValueError("other angles")
        if not all(isinstance(value, float) for name, value in rope.items() if name != "rope_type"):
            raise ValueError("angles that are no numbers")
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("heads that do not divide")
        return self

    def get_text_config(self, *, decoder: bool) -> Self:
        """Itself, as of every transformers configuration of a model of text alone."""
        return self


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden_size))
        self.variance_epsilon = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """Over the last dimension, computed in fp32."""
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (x32 * scale).to(x.dtype)


class RotaryEmbedding(nn.Module):
    """Angles of rotary embeddings (Su et al. 2021, eq. 34), stretched or not."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.rope_type = str(config.rope_parameters["rope_type"])
        self._width, self._rope = config.head_dim, config.rope_parameters

    def forward(self, x: Tensor, positions_BS: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, S, D], in the dtype of x; frequencies are fp32 whatever that is."""
        steps = torch.arange(0, self._width, 2, dtype=torch.float, device=x.device)
        frequencies = 1.0 / (float(self._rope["rope_theta"]) ** (steps / self._width))
        if self.rope_type == "llama3":
            frequencies = _stretched(frequencies, self._rope)
        angles = positions_BS[..., None].float() * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention of a text to itself."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, heads, kv_heads = config.head_dim, config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.scaling = width, width**-0.5
        self.q_proj = nn.Linear(config.hidden_size, heads * width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_heads * width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_heads * width, bias=False)
        self.o_proj = nn.Linear(heads * width, config.hidden_size, bias=False)

    def forward(self, x_BSE: Tensor, cos_BSD: Tensor, sin_BSD: Tensor) -> Tensor:
        """[B, S, E]."""
        q_BHSD, k_BKSD, v_BKSD = (
            layer(x_BSE).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q_BHSD, k_BKSD = (
            x * cos_BSD[:, None] + _half_turned(x) * sin_BSD[:, None] for x in (q_BHSD, k_BKSD)
        )
        y_BHSD = F.scaled_dot_product_attention(q_BHSD, k_BKSD, v_BKSD, is_causal=True, enable_gqa=True)
        return self.o_proj(y_BHSD.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, eq. 6)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[…, E]."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and feed-forward layer, each after a norm and added to what came in."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), FeedForward(config)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(config), RMSNorm(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, S, E]."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Token ids to hidden states."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm, self.rotary_emb = RMSNorm(config), RotaryEmbedding(config)

    def forward(self, ids_BS: Tensor) -> Tensor:
        """[B, S, E]."""
        x = self.embed_tokens(ids_BS)
        cos, sin = self.rotary_emb(x, torch.arange(ids_BS.shape[1], device=ids_BS.device)[None])
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Output(NamedTuple):
    """What a model makes of a text."""

    logits: Tensor


class Llama(nn.Module):
    """The model, as much of it as answers need: it is called to show that a faster way computes the same."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config, self.model = config, Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, input_ids: Tensor, *, use_cache: Literal[False]) -> Output:
        """Logits [B, S, V]."""
        return Output(self.lm_head(self.model(input_ids)))

    def get_input_embeddings(self) -> nn.Embedding:
        """As transformers' models have it."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """As transformers' models have it."""
        return self.lm_head


def read_llama_config(folder: ModelFolder) -> LlamaConfig | None:
    """The configuration of a folder; None where it says anything but a plain Llama."""
    try:
        return LlamaConfig.model_validate(folder.read(CONFIG))
    except ValidationError:
        return None


def read_llama(folder: ModelFolder, dtype: torch.dtype) -> Llama | None:
    """The model of a folder, its weights in `dtype`, with int8 ones in fp32; None for anything but a plain Llama."""
    config = read_llama_config(folder)
    if config is None:
        return None
    try:
        stored = _tensors(folder)
    except (OSError, SafetensorError):
        return None
    state, dtype = (as_floats(stored, folder), torch.float32) if folder.is_int8 else (stored, dtype)
    with torch.device("meta"), _WithoutValues():
        model = Llama(config)
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    if wanted != {name: tensor.shape for name, tensor in state.items()}:
        return None
    if not all(tensor.is_floating_point() for tensor in state.values()):
        return None
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, strict=False, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    if folder.is_int8:
        hold_in_int8(model, stored)
    return model


def _tensors(folder: ModelFolder) -> dict[str, Tensor]:
    """What the files of weights hold; nothing where they are not those that the folder should have."""
    places = folder.read(INDEX).get("weight_map") if (folder.path / INDEX).exists() else None
    files = sorted(set(places.values())) if isinstance(places, dict) else [WEIGHTS]
    if [path.name for path in folder.weights] != files:
        return {}
    parts = [load_file(path) for path in folder.weights]
    state = {name: tensor for part in parts for name, tensor in part.items()}
    return state if len(state) == sum(map(len, parts)) else {}


class _WithoutValues(TorchFunctionMode):
    """Inside, modules are made without first values: those of the meta device come from torch's compiler, which takes
    a second to import."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in (kwargs or {}) else args[0]
        return func(*args, **(kwargs or {}))


def _stretched(frequencies: Tensor, rope: Mapping[str, str | float]) -> Tensor:
    """Angles for texts that are longer than those of pre-training: slow turns are slowed by a factor, quick ones are
    kept, those between blended (Llama 3, arXiv 2407.21783, §3.4.1, as its code has it)."""
    factor, low, high, length = (
        float(rope[name])
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    wavelengths = 2 * math.pi / frequencies
    share = (length / wavelengths - low) / (high - low)
    blended = (1 - share) * frequencies / factor + share * frequencies
    stretched = torch.where(wavelengths > length / low, frequencies / factor, blended)
    return torch.where(wavelengths < length / high, frequencies, stretched)


def _half_turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)
