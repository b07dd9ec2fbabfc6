"""Weights in int8: how near they are, how folders hold them, and what such folders are refused for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from outcrop.core.engines import ModelRef
from outcrop.core.errors import ModelError
from outcrop.generation.vllm.model import ServedModel
from outcrop.models.folder import find_model
from outcrop.models.int8 import (
    WEIGHTS,
    Int8Embedding,
    Int8Linear,
    as_floats,
    held_bytes,
    quantise,
    quantise_folder,
    turn_to_int8,
)
from outcrop.models.loading import LoadedModel, load_model, open_model
from outcrop.models.plain_weights import require_floats
from tests.models.folders import edit, write_model

IDS = torch.tensor([[1, 40, 41, 42, 43]])


@pytest.fixture(params=[False, True], ids=["", "tied"])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write_model(tmp_path / "floats", tie_word_embeddings=request.param)


@pytest.fixture
def int8(model: Path) -> Path:
    copy = Path(shutil.copytree(model, model.parent / "int8"))
    quantise_folder(copy)
    return copy


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(1, 9), width=st.integers(1, 9), spread=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_no_number_is_off_by_more_than_half_its_rows_scale(rows: int, width: int, spread: float, seed: int) -> None:
    weight = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread
    weight[0, 0] = 0
    found = quantise(weight)
    off = (found.floats() - weight).abs()
    assert bool((off <= 0.5 * found.scale_O[:, None] * (1 + 1e-5)).all())
    assert found.values_OI.dtype == torch.int8
    assert int(found.values_OI.abs().max()) <= 127


def test_a_row_of_zeros_stays_one() -> None:
    assert torch.equal(quantise(torch.zeros(2, 3)).floats(), torch.zeros(2, 3))


@pytest.mark.parametrize("load", [load_model, open_model])
def test_a_folder_loads_as_the_floats_that_it_stands_for(
    model: Path, int8: Path, load: Callable[[str], LoadedModel]
) -> None:
    """Saved and loaded is the same as quantised in memory; the tied head is the embedding still."""
    loaded, before = load(str(int8)), load_model(str(model))
    for parameter in before.model.parameters():
        if parameter.dim() == 2:
            parameter.data = quantise(parameter).floats()
    expected = before.model(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(loaded.model(input_ids=IDS, use_cache=False).logits, expected, rtol=1e-5, atol=1e-5)
    head, table = loaded.model.get_output_embeddings(), loaded.model.get_input_embeddings()
    assert (type(head), type(table)) == (Int8Linear, Int8Embedding)
    assert (head.weight is table.weight) == before.model.config.tie_word_embeddings
    assert loaded.parameters == before.parameters == find_model(str(int8)).parameters
    assert held_bytes(loaded.model) < 0.3 * held_bytes(before.model)
    assert (int8 / WEIGHTS).stat().st_size < 0.35 * (model / WEIGHTS).stat().st_size


def test_a_model_in_memory_becomes_what_its_folder_would(model: Path, int8: Path) -> None:
    made, loaded = load_model(str(model)), load_model(str(int8))
    turn_to_int8(made.model)
    expected = loaded.model(input_ids=IDS, use_cache=False).logits
    assert torch.equal(made.model(input_ids=IDS, use_cache=False).logits, expected)
    assert held_bytes(made.model) == held_bytes(loaded.model)


def test_other_programs_get_floats_back_as_the_documentation_says(int8: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "distillation.md").read_text()
    code = next(part.partition("```")[0] for part in text.split("```python\n")[1:] if "_scale" in part)
    edit(int8 / "outcrop.json", weights="int8")
    code = code.replace('"student', f'"{int8}').replace('"floats', f'"{tmp_path}/made')
    exec(compile(code, "docs/distillation.md", "exec"), {})  # noqa: S102  our own documentation
    made, expected = load_model(f"{tmp_path}/made"), load_model(str(int8))
    assert not made.folder.is_int8
    logits = [each.model(input_ids=IDS, use_cache=False).logits for each in (made, expected)]
    torch.testing.assert_close(logits[0], logits[1])


def test_what_needs_floats_says_so(int8: Path) -> None:
    with pytest.raises(ModelError, match=r"The weights are int8, tuning takes floats.") as refused:
        require_floats(find_model(str(int8)), "tuning")
    assert "docs/distillation.md" in refused.value.remedy
    with pytest.raises(ModelError, match=r"The weights are int8, vLLM takes floats."):
        ServedModel.prepare(ModelRef(str(int8)), int8)


@pytest.mark.parametrize("load", [load_model, open_model])
def test_int8_without_its_scale_is_refused(int8: Path, load: Callable[[str], LoadedModel]) -> None:
    state = load_file(int8 / WEIGHTS)
    name = next(name for name in state if name.endswith("_scale"))
    save_file({key: tensor for key, tensor in state.items() if key != name}, int8 / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"has no .*weight_scale that fits"):
        load(str(int8))
    with pytest.raises(ModelError, match=r"has no .*weight_scale that fits"):
        as_floats({**state, name: state[name][:-1]}, find_model(str(int8)))


def test_other_ways_of_storing_are_refused_still(int8: Path) -> None:
    assert json.loads((int8 / "config.json").read_text())["quantization_config"] == {"quant_method": "outcrop-int8"}
    edit(int8 / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match="The weights are quantised"):
        open_model(str(int8))
