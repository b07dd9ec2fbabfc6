"""Models that load, and what is said of those that do not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from outcrop.core.errors import ModelError, UsageError
from outcrop.models.folder import CARD, find_model
from outcrop.models.loading import LoadedModel, load_model, load_renderer, load_tokenizer, open_model
from outcrop.models.lora import LoraLinear, LoraShape, attach, save_adapter
from tests.models.chat import CHATML
from tests.models.folders import edit, write_model
from tests.support.tiny import tiny_model

IDS = torch.tensor([[1, 40, 41, 42, 43]])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


def refusal(name: Path, load: Callable[[str], LoadedModel] = load_model) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(str(name))
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    return caught.value


def write_adapter(folder: Path, base: Path, seed: int = 0, **shape: float) -> dict[str, torch.Tensor]:
    """A LoRA adapter with weights that matter."""
    trained = tiny_model()
    lora = LoraShape(**{"rank": 2, "alpha": 4.0, **shape})  # type: ignore[arg-type]
    attach(trained, lora, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(parameter.shape, generator=generator)
        for name, parameter in trained.named_parameters()
        if parameter.requires_grad
    }
    folder.mkdir()
    save_adapter(trained, folder, str(base), lora, state)
    return state


def test_a_model_loads_as_transformers_loads_it(model: Path) -> None:
    loaded = load_model(str(model))
    assert torch.equal(loaded.model(IDS).logits, tiny_model()(IDS).logits)
    assert not loaded.model.training
    assert loaded.context == 256
    assert loaded.renderer.stop_ids == (loaded.tokenizer.eos_token_id,)


def test_the_dtype_is_the_one_asked_for(model: Path) -> None:
    assert load_model(str(model), dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_stop_ids_come_from_both_configurations(model: Path) -> None:
    edit(model / "config.json", eos_token_id=2)
    edit(model / "generation_config.json", eos_token_id=[7, 8])
    assert load_model(str(model)).renderer.stop_ids == (2, 7, 8)


def test_the_card_says_how_to_render(model: Path) -> None:
    template = CHATML.replace("<|im_start|>", "").replace("<|im_end|>", "<pad>")
    edit(model / CARD, rendering={"separator": " => ", "chat_template": template})
    folder = find_model(str(model))
    renderer = load_renderer(folder, load_tokenizer(folder))
    assert (renderer.spec.separator, renderer.chat_template) == (" => ", template)
    assert renderer.tokenizer.pad_token_id in renderer.stop_ids
    edit(model / CARD, rendering={"seperator": ""})
    with pytest.raises(UsageError, match="Did you mean: separator"):
        load_model(str(model))


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, "The model cannot be read: Error while deserializing header"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "The model cannot be read"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "x.safetensors"),
            "no file named model.safetens",
        ),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=3), "9 tensors are missing"),
        (lambda folder: edit(folder / "config.json", vocab_size=400), "tensors are missing or have another shape"),
        (lambda folder: edit(folder / "config.json", hidden_size="wide"), 'hidden_size is "wide", not a whole number'),
        (
            lambda folder: edit(folder / "config.json", head_dim=0, num_hidden_layers=-1),
            "num_hidden_layers is -1, not a whole number above 0; head_dim is 0, not a whole number above 0.",
        ),
        (lambda folder: edit(folder / "config.json", rms_norm_eps="a"), 'rms_norm_eps is "a", not a number above 0'),
        (lambda folder: edit(folder / "config.json", hidden_act="silly"), "hidden_act is 'silly', which is no activ"),
        (
            lambda folder: edit(folder / "config.json", rope_parameters={"rope_type": "lin", "rope_theta": 1.0}),
            "rope_type is 'lin', which is no kind of angles.",
        ),
        (lambda folder: edit(folder / "config.json", model_type="t5"), "Unrecognized configuration class"),
        (lambda folder: edit(folder / "config.json", model_type="unheard"), "does not recognize this architecture"),
        (lambda folder: edit(folder / "config.json", quantization_config={"bits": 4}), "The weights are quantised."),
        (lambda folder: (folder / "tokenizer.json").unlink(), "The folder holds no tokenizer."),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json is not JSON: Expecting property"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json describes no tokenizer"),
        (lambda folder: edit(folder / "tokenizer_config.json", eos_token=None), "no end token"),
        (lambda folder: (folder / "generation_config.json").write_text("{"), "generation_config.json is not JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("load", [load_model, open_model])
def test_broken_folders_are_refused_in_one_line(
    model: Path, damage: Callable[[Path], object], says: str, load: Callable[[str], LoadedModel]
) -> None:
    damage(model)
    error = refusal(model, load)
    assert says in error.message
    assert error.where.startswith(str(model))


NAMED = "tokenizer_config.json: chat_template"


@pytest.mark.parametrize(
    ("damage", "says", "place"),
    [
        (lambda folder: (folder / "chat_template.jinja").write_text("{% for"), "Jinja: line 1", "chat_template.jinja"),
        (lambda folder: (folder / "chat_template.jinja").write_text(" \n"), "is empty", "chat_template.jinja"),
        (lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xff"), "is not UTF-8", "chat_template.jinja"),
        (lambda folder: (folder / "chat_template.jinja").mkdir(), "cannot be read", "chat_template.jinja"),
        (lambda folder: (folder / "chat_template.jinja").write_text("x"), "does not close", "chat_template.jinja"),
        (lambda folder: edit(folder / "tokenizer_config.json", chat_template="{{"), "is no Jinja", NAMED),
        (lambda folder: edit(folder / "tokenizer_config.json", chat_template=5), "is 5, not a text", NAMED),
        (
            lambda folder: edit(folder / "tokenizer_config.json", chat_template=[{"name": "tool", "template": "x"}]),
            "no template named default, only tool",
            NAMED,
        ),
        (
            lambda folder: edit(folder / CARD, rendering={"chat_template": "{% for"}),
            "cannot be applied",
            f"{CARD}: rendering: chat_template",
        ),
    ],
)
@pytest.mark.parametrize("load", [load_model, open_model])
def test_a_broken_chat_template_is_no_missing_one(
    model: Path, damage: Callable[[Path], object], says: str, place: str, load: Callable[[str], LoadedModel]
) -> None:
    damage(model)
    error = refusal(model, load)
    assert says in error.message
    assert error.where == f"{model}/{place}"


def test_a_broken_template_file_is_told_although_the_card_has_another(model: Path) -> None:
    edit(model / CARD, rendering={"chat_template": load_model(str(model)).renderer.chat_template})
    (model / "chat_template.jinja").write_text("{% for")
    assert refusal(model).where == f"{model}/chat_template.jinja"


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    assert (
        "The tokenizer has ids up to 299, the model embeds 200"
        in refusal(write_model(tmp_path / "small", vocab_size=200)).message
    )


def test_an_adapter_is_merged_or_attached(tmp_path: Path, model: Path) -> None:
    state = write_adapter(tmp_path / "adapter", model)
    attached = load_model(str(tmp_path / "adapter"), merge=False)
    merged = load_model(str(tmp_path / "adapter"))
    layers = {name: layer for name, layer in attached.model.named_modules() if isinstance(layer, LoraLinear)}
    assert len(layers) * 2 == len(state)
    for name, layer in layers.items():
        assert torch.equal(layer.lora_A, state[f"{name}.lora_A"])
        assert torch.equal(layer.lora_B, state[f"{name}.lora_B"])
    assert not any(isinstance(layer, LoraLinear) for layer in merged.model.modules())
    torch.testing.assert_close(merged.model(IDS).logits, attached.model(IDS).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged.model(IDS).logits, tiny_model()(IDS).logits)
    assert merged.tokenizer.get_vocab() == load_tokenizer(find_model(str(model))).get_vocab()


def test_an_adapter_on_an_adapter_is_the_sum_of_both(tmp_path: Path, model: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_adapter(first, model, seed=1)
    write_adapter(second, first, seed=2)
    shutil.copytree(second, tmp_path / "alone")
    edit(tmp_path / "alone" / "adapter_config.json", base_model_name_or_path=str(model))
    plain, one, other, both = (
        load_model(str(path)).model.get_parameter("model.layers.0.mlp.up_proj.weight")
        for path in (model, first, tmp_path / "alone", second)
    )
    torch.testing.assert_close(both, one + other - plain)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "not supported: use_dora"),
        ({"modules_to_save": ["lm_head"]}, "not supported: modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 4}}, "not supported: rank_pattern, alpha_pattern"),
        ({"bias": "all"}, "not supported: bias"),
        ({"init_lora_weights": "pissa"}, "not supported: init_lora_weights=pissa"),
        ({"layer_replication": [[0, 1]]}, "not supported: layer_replication"),
        ({"peft_type": "IA3"}, "not supported: IA3"),
        ({"peft_type": None}, "not supported: None"),
        ({"r": None}, "gives r = None"),
        ({"r": 3}, "does not fit this base model: model.layers.0.mlp.down_proj"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_adapters_of_other_kinds_are_refused(tmp_path: Path, model: Path, change: dict[str, object], says: str) -> None:
    write_adapter(tmp_path / "adapter", model)
    edit(tmp_path / "adapter" / "adapter_config.json", **change)
    error = refusal(tmp_path / "adapter")
    assert says in error.message
    assert error.where == str(tmp_path / "adapter")


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", num_hidden_layers=1)
    write_adapter(tmp_path / "adapter", other)
    assert "does not fit this base model: model.layers.1.mlp.down_proj" in refusal(tmp_path / "adapter").message


def test_damaged_adapter_weights_are_refused(tmp_path: Path, model: Path) -> None:
    write_adapter(tmp_path / "adapter", model)
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "adapter_model.safetensors cannot be read" in refusal(tmp_path / "adapter").message
    weights.rename(weights.with_name("model.safetensors"))
    assert "adapter_model.safetensors cannot be read" in refusal(tmp_path / "adapter").message


def test_a_model_without_linear_layers_takes_no_adapters() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(ModelError, match="GPT2LMHeadModel has no linear layers"):
        attach(model, LoraShape(2, 4.0))


def test_models_load_in_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load_model, ["bundled:pebble-s"] * 16))
    for each in loaded:
        assert each.model.lm_head.weight is each.model.get_input_embeddings().weight
