"""A bf16 Llama folder as a GGUF file without a tokenizer: prompts are token ids here.

llama.cpp's own converter knows tokenizers by a table of digests, where one that was trained by oneself is not found.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write(folder: str, file: str) -> None:
    """Weights in bf16, those of norms in fp32, as llama.cpp wants them."""
    import gguf

    config = json.loads((Path(folder) / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_tokenizer_model("no_vocab")
    for name, bits in _tensors(Path(folder) / "model.safetensors"):
        ours, theirs = _names(name)
        if bits.ndim == 1:
            writer.add_tensor(theirs, _as_fp32(bits))
        else:
            heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(ours)
            rows = _interleaved(bits, config[heads]) if heads else bits
            writer.add_tensor(theirs, rows.view("uint8"), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _names(name: str) -> tuple[str, str]:
    stem = name.removesuffix(".weight")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    return (layer[2], f"blk.{layer[1]}.{NAMES[layer[2]]}.weight") if layer else (stem, f"{NAMES[stem]}.weight")


def _tensors(file: Path) -> list[tuple[str, Any]]:
    """Names and bits of a safetensors file of bf16, which numpy has no type for."""
    import numpy as np

    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    found = []
    for name, entry in header.items():
        assert entry["dtype"] == "BF16", f"{name} is {entry['dtype']}"
        begin, end = (start + offset for offset in entry["data_offsets"])
        found.append((name, np.frombuffer(raw[begin:end], np.uint16).reshape(entry["shape"])))
    return found


def _as_fp32(bits: Any) -> Any:
    return (bits.astype("uint32") << 16).view("float32")


def _interleaved(bits: Any, heads: int) -> Any:
    """Rows of queries and keys in llama.cpp's order: it rotates neighbours, transformers rotates halves of a head."""
    return bits.reshape(heads, 2, len(bits) // heads // 2, -1).swapaxes(1, 2).reshape(bits.shape)
