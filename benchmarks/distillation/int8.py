"""Products and whole students with int8 weights, beside fp32 and bf16, one thread, in turns.

    python -m benchmarks.distillation.int8 [--part products] [--part students]

Products: microseconds of one call (median of rounds in turns), in every way that torch has on this processor, with the
relative error of each against fp32. Students: random weights in shapes that students have, prompts of 40 tokens and one
answer token, as after a label's first token, or 8; milliseconds of one prompt, rows a second of many. Writes
results/int8.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.generation.shapes import SHAPES, ModelShape
from outcrop.core import settings
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.files import write_json
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.int8_linear import Int8Product
from outcrop.generation.linear import Linear
from outcrop.models.int8 import as_stored, held_bytes, hold_in_int8, quantise
from outcrop.workflows.evaluate import reproduction
from tests.support.tiny import tiny_tokenizer

PRODUCTS = {
    "qkv, hidden 256": (512, 256), "output, hidden 256": (256, 256), "gate and up, hidden 256": (1024, 256),
    "down, hidden 256": (256, 512), "gate and up, hidden 320": (1728, 320), "head, 1k words": (1024, 256),
    "head, 3k words": (3072, 256), "gate and up, m30": (2560, 384), "down, m30": (384, 1280), "head, m30": (16384, 384),
}  # fmt: skip
ROWS = (1, 8, 32, 256)
STUDENTS = {
    "hidden 192, 4 layers": ModelShape(1024, 192, 4, 3, 1, 512),
    "hidden 256, 3 layers": ModelShape(1024, 256, 3, 4, 2, 512),
    "hidden 320, 4 layers": ModelShape(3072, 320, 4, 5, 1, 864),
    "hidden 384, 8 layers (pebble-l, cut vocabulary)": ModelShape(2048, 384, 8, 6, 2, 1024),
    "m30": SHAPES["m30"],
}
PROMPT_TOKENS, PROMPTS, ROUNDS, PRODUCT_ROUNDS = 40, 32, 7, 9


def ways_of(weight_OI: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Every way to multiply with a weight, fp32 in and out."""
    stored, halves_O = quantise(weight_OI), quantise(weight_OI).scale_O.bfloat16()
    engines = [engine for engine in ("fbgemm", "onednn") if engine in torch.backends.quantized.supported_engines]
    dynamic = {f"int8, one scale for all tokens (linear_dynamic, {each})": packed(*stored, each) for each in engines}
    prepacked = torch.ops.onednn.qlinear_prepack(stored.values_OI, None)
    zeros_O = torch.zeros(len(stored.scale_O), dtype=torch.int32)

    def pointwise(x: Tensor) -> Tensor:
        scale = x.abs().amax(1, keepdim=True).div_(127)
        levels = (x / scale).round_().add_(128).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 128, prepacked, stored.scale_O, zeros_O, None, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(scale)  # fmt: skip

    return {
        "fp32": Linear(weight_OI),
        "bf16": Linear(weight_OI.bfloat16()),
        "int8, a scale for each token (_int_mm), as the engine does": Int8Product(*stored),
        "int8, a scale for each token (qlinear_pointwise, onednn)": pointwise,
        **{way: partial(run_dynamic, weight) for way, weight in dynamic.items()},
        "int8 weights alone (_weight_int8pack_mm), bf16": lambda x: torch.ops.aten._weight_int8pack_mm(
            x, stored.values_OI, halves_O
        ),
    }


def packed(values_OI: Tensor, scale_O: Tensor, engine: str) -> Any:
    """A weight for linear_dynamic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zeros_O = torch.zeros(len(scale_O), dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(values_OI, scale_O.double(), zeros_O, 0)
    torch.backends.quantized.engine = engine
    return torch.ops.quantized.linear_prepack(weight, None)


def run_dynamic(weight: Any, x: Tensor) -> Tensor:
    return torch.ops.quantized.linear_dynamic(x, weight, False)


def measure_products() -> dict[str, Any]:
    """By product, rows and way: microseconds and relative error."""
    found: dict[str, Any] = {}
    for name, (outputs, inputs) in PRODUCTS.items():
        torch.manual_seed(0)
        weight = torch.randn(outputs, inputs) / inputs**0.5
        ways = ways_of(weight)
        found[name] = {}
        for rows in ROWS:
            x = torch.randn(rows, inputs)
            calls = {way: partial(call, x.bfloat16() if "bf16" in way else x) for way, call in ways.items()}
            expected = x @ weight.t()
            with torch.inference_mode():
                errors = {w: float((call().float() - expected).norm() / expected.norm()) for w, call in calls.items()}
                times = in_turns(calls)
            found[name][rows] = {way: {"us": 1e6 * times[way], "error": errors[way]} for way in ways}
        print(name, {rows: {way: round(each["us"], 1) for way, each in r.items()} for rows, r in found[name].items()})
    return found


def in_turns(calls: dict[str, Callable[[], Any]], budget_s: float = 0.003) -> dict[str, float]:
    """The median seconds of a call, by name."""
    repeats, times = {}, {name: list[float]() for name in calls}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(budget_s / (time.perf_counter() - start)))
    for _ in range(PRODUCT_ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return {name: median(each) for name, each in times.items()}


def made(shape: ModelShape, way: str) -> Any:
    """A model with random weights."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=64,
        intermediate_size=shape.inner, tie_word_embeddings=True, initializer_range=0.04,
    )).eval()  # fmt: skip
    if way == "int8":
        hold_in_int8(model, as_stored(dict(model.named_parameters())))
    return model.to(torch.bfloat16) if way == "bf16" else model


def measure_students() -> dict[str, Any]:
    """By shape and way: milliseconds of one prompt and rows a second of many, medians in turns."""
    found: dict[str, Any] = {}
    for name, shape in STUDENTS.items():
        models = {way: made(shape, way) for way in ("fp32", "bf16", "int8")}
        engines = {way: EmbeddedEngine(model, tiny_tokenizer()) for way, model in models.items()}
        found[name] = {way: {"megabytes": held_bytes(model) / 1e6} for way, model in models.items()}
        for tokens in (1, 8):
            requests = [asked(number, shape.vocabulary, tokens) for number in range(PROMPTS)]
            one: dict[str, list[float]] = {way: [] for way in engines}
            many: dict[str, list[float]] = {way: [] for way in engines}
            for number in range(-1, PROMPTS):
                for way, engine in engines.items():
                    took = seconds(engine, [requests[number]])
                    one[way] += [took] if number >= 0 else []
            for _ in range(ROUNDS):
                for way, engine in engines.items():
                    many[way].append(seconds(engine, requests))
            for way in engines:
                told = {"one_ms": 1000 * median(one[way]), "rows_per_s": PROMPTS / median(many[way])}
                found[name][way][f"{tokens} tokens"] = told
        print(name, json.dumps(found[name]), flush=True)
    return found


def asked(number: int, vocabulary: int, tokens: int) -> CompletionRequest:
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(5, min(vocabulary, 1000), (PROMPT_TOKENS,), generator=generator)
    return CompletionRequest(tuple(ids.tolist()), Sampling(max_new_tokens=tokens))


def seconds(engine: EmbeddedEngine, requests: list[CompletionRequest]) -> float:
    engine.forget_prompts()
    start = time.perf_counter()
    engine.complete(requests)
    return time.perf_counter() - start


PARTS = {"products": measure_products, "students": measure_students}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "int8.json")
    options = parser.parse_args()
    torch.set_num_threads(settings.threads())
    found = json.loads(options.to.read_text("utf-8")) if options.to.exists() else {}
    for part in options.part or PARTS:
        found[part] = PARTS[part]()
    found |= {"machine": dict(reproduction().machine), "versions": dict(reproduction().versions)}
    write_json(options.to, found)


if __name__ == "__main__":
    main()
