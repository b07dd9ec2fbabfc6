"""Adapters change nothing at first, equal PEFT's in values, gradients and files, and merge into the same model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from outcrop.models import lora
from outcrop.models.folder import find_model
from outcrop.models.lora import LoraShape, save_adapter
from outcrop.training.engine import TrainingEngine
from outcrop.training.methods import lora_shape
from tests.support.documents import documents, plain_loss, rows
from tests.support.families import family
from tests.support.tiny import tiny_model
from tests.support.training import distance, engine, our_gradients, plain_gradients

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # in PEFT

SHAPE = LoraShape(rank=4, alpha=12.0)
STABLE = LoraShape(rank=4, alpha=12.0, rslora=True)
SHAPES = pytest.mark.parametrize("shape", [SHAPE, STABLE], ids=["LoRA", "rsLoRA"])
BATCH = documents([9, 40, 14, 30, 12], prefix=5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a tiny Llama with biases."""
    folder = tmp_path / "base"
    tiny_model(attention_bias=True).save_pretrained(folder)
    return folder


def logits(model: Any) -> Tensor:
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def settings(shape: LoraShape, **others: Any) -> dict[str, Any]:
    return {"method": "lora", "lora_rank": shape.rank, "lora_alpha": shape.alpha, "lora_rslora": shape.rslora} | others


def trained(model: Any, shape: LoraShape, **others: Any) -> TrainingEngine:
    """An engine after three steps, in which B has left zero."""
    training = engine(model, **settings(shape, **others))
    for index in range(3):
        training.step(rows(BATCH), index, 1e-2)
    return training


def adapted(model: Any, training: TrainingEngine) -> Any:
    """The model with the engine's adapters, computed by transformers and by LoraLinear's own forward pass."""
    model = copy.deepcopy(model)
    lora.attach(model, lora_shape(training.spec))
    assert not model.load_state_dict(training.flat.state(), strict=False).unexpected_keys
    return model


def with_peft(model: Any, shape: LoraShape, dropout: float = 0.0) -> Any:
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        use_rslora=shape.rslora,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(copy.deepcopy(model), config)


@pytest.mark.parametrize("name", ["llama", "gpt-neox", "qwen2"])
def test_new_adapters_leave_the_output_as_it_is(name: str) -> None:
    model = tiny_model() if name == "llama" else family(name)
    before = logits(model)
    lora.attach(model, SHAPE)
    assert sum(isinstance(module, lora.LoraLinear) for module in model.modules()) > 7
    assert torch.equal(logits(model), before)


def test_a_new_adapter_depends_on_the_seed_and_the_name_of_its_layer_alone() -> None:
    one, two, other = (tiny_model() for _ in range(3))
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        lora.attach(model, SHAPE, seed=seed)
    first = {name: p for name, p in one.named_parameters() if name.endswith("lora_A")}
    assert all(torch.equal(p, two.get_parameter(name)) for name, p in first.items())
    assert not any(torch.equal(p, other.get_parameter(name)) for name, p in first.items())
    assert len({p[0, 0].item() for p in first.values()}) == len(first)


@SHAPES
def test_merged_equals_adapter(shape: LoraShape) -> None:
    model = tiny_model(attention_bias=True)
    tuned = adapted(model, trained(model, shape))
    alone, before = logits(tuned), logits(model)
    lora.merge(tuned)
    assert not any(isinstance(module, lora.LoraLinear) for module in tuned.modules())
    assert (logits(tuned) - alone).abs().max() <= 1e-5
    assert (alone - before).abs().max() > 0.1


@SHAPES
def test_the_kernel_in_training_equals_the_layers_own_forward_pass(shape: LoraShape) -> None:
    model = tiny_model(attention_bias=True)
    training = trained(model, shape)
    loss, _ = training.gradient(rows(BATCH), 3)
    expected = plain_gradients(adapted(model, training), BATCH)
    ours = {name: slot.of(training.flat.grad) for name, slot in training.flat.slots.items()}
    assert distance(ours | {"loss": torch.tensor(loss)}, expected) <= 1e-5


def test_only_adapters_are_trained() -> None:
    model = tiny_model()
    training = trained(model, SHAPE)
    assert all(name.endswith((".lora_A", ".lora_B")) for name in training.flat.slots)
    frozen = {n: p for n, p in training.model.named_parameters() if n not in training.flat.slots}
    assert len(frozen) == len(list(model.parameters()))
    for name, parameter in frozen.items():
        assert torch.equal(parameter, model.get_parameter(name.replace(".base.", ".")))


@SHAPES
def test_values_and_gradients_are_pefts(shape: LoraShape) -> None:
    model = tiny_model(attention_bias=True)
    training = trained(model, shape)
    loss, _ = training.gradient(rows(BATCH), 3)
    theirs = with_peft(model, shape)
    parameters = {n.removeprefix(lora.PREFIX).replace(".default.weight", ""): p for n, p in theirs.named_parameters()}
    parameters = {name: p for name, p in parameters.items() if p.requires_grad}
    for name, value in training.flat.state().items():
        parameters[name].data.copy_(value)
    expected = plain_loss(theirs, BATCH)
    expected.backward()
    ours = {name: slot.of(training.flat.grad) for name, slot in training.flat.slots.items()}
    gradients = {name: p.grad for name, p in parameters.items()}
    assert distance(ours | {"loss": torch.tensor(loss)}, gradients | {"loss": expected.detach()}) <= 1e-5


@SHAPES
def test_peft_reads_what_we_write(shape: LoraShape, base: Path, tmp_path: Path) -> None:
    model = tiny_model(attention_bias=True)
    training = trained(model, shape)
    (tmp_path / "adapter").mkdir()
    save_adapter(training.model, tmp_path / "adapter", str(base), shape, training.flat.state())
    theirs = PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path / "adapter"))
    expected = logits(adapted(model, training))
    assert (logits(theirs) - expected).abs().max() <= 1e-5
    ours = copy.deepcopy(model)
    lora.load_adapter(ours, find_model(str(tmp_path / "adapter")))
    assert torch.equal(logits(ours), expected)


@SHAPES
def test_we_read_what_peft_writes(shape: LoraShape, base: Path, tmp_path: Path) -> None:
    model = tiny_model(attention_bias=True)
    theirs = with_peft(model, shape)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    theirs.peft_config["default"].base_model_name_or_path = str(base)
    theirs.save_pretrained(str(tmp_path / "adapter"))
    ours = copy.deepcopy(model)
    lora.load_adapter(ours, find_model(str(tmp_path / "adapter")))
    assert (logits(ours) - logits(theirs)).abs().max() <= 1e-5
    assert (logits(ours) - logits(model)).abs().max() > 0.1


def test_dropout_is_on_the_input_of_the_adapter_alone() -> None:
    """At first B is zero, so that dropout shows in no value, but in the gradient of B."""
    model = tiny_model()
    without, with_ = (our_gradients(model, BATCH, **settings(SHAPE, lora_dropout=rate)) for rate in (0.0, 0.5))
    again = our_gradients(model, BATCH, **settings(SHAPE, lora_dropout=0.5))
    assert torch.equal(with_["loss"], without["loss"])
    assert all(torch.equal(with_[name], again[name]) for name in with_)
    changed = [name for name in with_ if not torch.allclose(with_[name], without[name])]
    assert changed == [name for name in with_ if name.endswith("lora_B")]
