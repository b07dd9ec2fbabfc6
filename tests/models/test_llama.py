"""A plain Llama folder that is read without transformers is the model that transformers reads, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.data.records import Text
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.folder import bundled_names
from outcrop.models.llama import WEIGHTS, Llama
from outcrop.models.loading import LoadedModel, load_model, open_model
from outcrop.models.lora import LoraShape, attach, save_adapter
from outcrop.models.plain_tokenizer import PlainTokenizer
from outcrop.models.saving import save_card, save_weights
from tests.models.folders import edit, write_model
from tests.support.tiny import tiny_model, tiny_tokenizer

IDS = torch.arange(3, 100)[None]
ROPE = {"rope_type": "default", "rope_theta": 500.0}
STRETCHED = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def both(name: str) -> tuple[LoadedModel, LoadedModel]:
    opened = open_model(name)
    assert isinstance(opened.model, Llama)
    assert isinstance(opened.tokenizer, PlainTokenizer)
    return load_model(name), opened


def check_same(name: str) -> None:
    """The same tensors and logits, and the same answers, greedy and sampled, to the last bit of a log-probability."""
    pair = both(name)
    states = [loaded.model.state_dict() for loaded in pair]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][tensor_name]) for tensor_name, tensor in states[0].items())
    with torch.inference_mode():
        logits = [loaded.model(input_ids=IDS, use_cache=False).logits for loaded in pair]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    answers = [
        EmbeddedEngine(loaded.model, loaded.tokenizer).complete(
            [
                CompletionRequest(
                    tuple(loaded.renderer.prompt(Text("the old house"))),
                    Sampling(max_new_tokens=20, temperature=temperature, seed=4, top_logprobs=2),
                )
                for temperature in (0.0, 1.0)
            ]
        )
        for loaded in pair
    ]
    for one, other in zip(*answers, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == other.logprobs
        assert one.top_logprobs == other.top_logprobs
        assert one.text == other.text


@pytest.mark.contract
@pytest.mark.parametrize("name", bundled_names())
def test_bundled_models_are_the_same(name: str) -> None:
    check_same(f"bundled:{name}")


@pytest.mark.contract
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4},
        {"head_dim": 16},
        {"rms_norm_eps": 0.3},
        {"rope_parameters": ROPE},
        {"rope_parameters": STRETCHED | {"rope_theta": 500.0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_tiny_models_are_the_same(overrides: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = tiny_model(**{name: value for name, value in overrides.items() if name != "rope_parameters"})
    model.to(dtype).save_pretrained(folder)
    if "rope_parameters" in overrides:
        edit(folder / "config.json", rope_parameters=overrides["rope_parameters"])
    check_same(str(folder))


LEFT_OUT = dict.fromkeys(["rope_parameters", "head_dim", "mlp_bias", "attention_bias", "pretraining_tp"])


@pytest.mark.contract
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rope_theta": 500.0, "torch_dtype": "float32"},
        {"rope_theta": 500, "rope_scaling": STRETCHED},
        {"rope_theta": 500, "rope_scaling": None, "is_llama_config": True, "rope_interleaved": False},
        {"rope_scaling": STRETCHED | {"rope_theta": 700.0}, "rope_theta": 500.0},
    ],
    ids=str,
)
def test_folders_as_of_old_are_the_same(fields: dict[str, Any], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    edit(folder / "config.json", **LEFT_OUT)
    edit(folder / "config.json", **fields)
    check_same(str(folder))


@pytest.mark.contract
def test_a_folder_without_groups_of_heads_is_the_same(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", num_key_value_heads=4)
    edit(folder / "config.json", num_key_value_heads=None)
    check_same(str(folder))


def shard(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    tiny_model().save_pretrained(folder, max_shard_size="20KB")


@pytest.mark.contract
def test_weights_in_several_files_are_the_same(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    shard(folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    check_same(str(folder))


@pytest.mark.contract
def test_an_adapter_on_an_adapter_is_the_same(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    for number in (1, 2):
        trained = tiny_model()
        attach(trained, LoraShape(2, 4.0), seed=number)
        torch.manual_seed(number)
        state = {name: torch.randn_like(each) for name, each in trained.named_parameters() if each.requires_grad}
        folder = tmp_path / f"adapter-{number}"
        folder.mkdir()
        save_adapter(trained, folder, str(base), LoraShape(2, 4.0), state)
        base = folder
    tiny_tokenizer().save_pretrained(base)
    check_same(str(base))


def test_angles_do_not_depend_on_the_dtype_of_the_weights(tmp_path: Path) -> None:
    model = open_model(str(write_model(tmp_path / "model"))).model
    cos, _ = model.model.rotary_emb(torch.zeros(1), torch.arange(200)[None])
    model.to(torch.bfloat16)
    assert torch.equal(cos, model.model.rotary_emb(torch.zeros(1), torch.arange(200)[None])[0])


def config(**fields: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **fields)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
        change(state)
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


UNUSUAL = {
    "another architecture": config(model_type="mistral"),
    "a field that is not known": config(attention_multiplier=2.0),
    "a window": config(sliding_window=8),
    "another activation": config(hidden_act="gelu"),
    "other angles": config(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "other angles as of old": config(rope_parameters=None, rope_scaling={"type": "linear", "factor": 2.0}),
    "angles at two places": config(rope_theta=500.0),
    "a tied head that is stored too": config(tie_word_embeddings=True),
    "a tensor too many": weights(lambda state: state.update(more=torch.zeros(3))),
    "weights under another name": lambda folder: shutil.copy(folder / WEIGHTS, folder / "consolidated.safetensors"),
    "biases": lambda folder: tiny_model(attention_bias=True).save_pretrained(folder),
    "one file and several": lambda folder: tiny_model(seed=1).save_pretrained(folder / "more", max_shard_size="20KB")
    or [shutil.copy(file, folder) for file in (folder / "more").glob("model*")],
}  # fmt: skip


@pytest.mark.contract
@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_anything_unusual_is_read_by_transformers(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    change(folder)
    opened, loaded = open_model(str(folder)), load_model(str(folder))
    assert type(opened.model) is type(loaded.model)
    with torch.inference_mode():
        assert torch.equal(opened.model(IDS).logits, loaded.model(IDS).logits)


@pytest.mark.contract
def test_what_is_made_of_a_bundled_model_is_plain(tmp_path: Path) -> None:
    made = load_model("bundled:pebble-s")
    save_weights(made, {}, tmp_path, torch.bfloat16)
    save_card(tmp_path, made, {})
    check_same(str(tmp_path))
