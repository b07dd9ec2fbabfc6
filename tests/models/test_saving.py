"""What is written is a plain Hugging Face folder: others load it, and compute and stop as we do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from outcrop.data.records import Conversation, Message
from outcrop.models.folder import CARD
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.rendering import DEFAULT_CHAT_TEMPLATE
from outcrop.models.saving import save_card, save_weights
from tests.models.chat import CHATML, tokenizer
from tests.models.folders import edit, write_model

IDS = torch.tensor([[1, 40, 41, 42, 43]])
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def saved(tmp_path: Path, dtype: torch.dtype = torch.float32, **overrides: object) -> LoadedModel:
    """A model whose weights were changed in `state` only, written to tmp_path / "out"."""
    loaded = load_model(str(write_model(tmp_path / "base", **overrides)))
    generator = torch.Generator().manual_seed(0)
    state = {
        name: parameter.detach() + torch.randn(parameter.shape, generator=generator)
        for name, parameter in loaded.model.named_parameters()
    }
    (tmp_path / "out").mkdir()
    save_weights(loaded, state, tmp_path / "out", dtype)
    save_card(tmp_path / "out", loaded, {"kind": "fine-tuned"})
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            parameter.copy_(state[name])
    return loaded


@TIED
def test_weights_round_trip_into_plain_transformers(tmp_path: Path, tied: bool) -> None:
    before = saved(tmp_path, tie_word_embeddings=tied)
    theirs, account = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"), output_loading_info=True)
    assert not account["missing_keys"]
    assert not account["unexpected_keys"]
    assert torch.equal(theirs(IDS).logits, before.model(IDS).logits)
    assert torch.equal(load_model(str(tmp_path / "out")).model(IDS).logits, before.model(IDS).logits)


@TIED
def test_a_tied_head_is_stored_once(tmp_path: Path, tied: bool) -> None:
    saved(tmp_path, tie_word_embeddings=tied)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "model.embed_tokens.weight" in names
    assert ("lm_head.weight" in names) != tied


def test_the_dtype_is_stored_and_named(tmp_path: Path) -> None:
    before = saved(tmp_path, torch.bfloat16)
    after = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"))
    assert after.dtype == torch.bfloat16
    assert before.model.dtype == torch.float32, "the model in memory is left as it was"
    for name, parameter in before.model.named_parameters():
        assert torch.equal(after.get_parameter(name), parameter.to(torch.bfloat16))


def test_values_that_are_not_in_the_state_are_the_models_own(tmp_path: Path) -> None:
    loaded = load_model(str(write_model(tmp_path / "base")))
    (tmp_path / "out").mkdir()
    save_weights(loaded, {}, tmp_path / "out", torch.float32)
    assert torch.equal(load_model(str(tmp_path / "out")).model(IDS).logits, loaded.model(IDS).logits)


def test_other_servers_find_the_template_and_the_stops(tmp_path: Path) -> None:
    words = tokenizer("byte-level")
    words.chat_template = CHATML
    folder = write_model(tmp_path / "base", vocab_size=len(words))
    words.save_pretrained(folder)
    loaded = load_model(str(folder))
    (tmp_path / "out").mkdir()
    save_weights(loaded, {}, tmp_path / "out", torch.float32)
    stops = GenerationConfig.from_pretrained(str(tmp_path / "out")).eos_token_id
    assert stops == sorted(words.convert_tokens_to_ids(["</s>", "<|im_end|>"]))
    turns = [{"role": "user", "content": "hi"}]
    plain = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    asked = plain.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert asked == loaded.renderer.prompt(Conversation((Message("user", "hi"),)))


def test_a_model_without_a_template_gets_the_one_it_was_rendered_with(tmp_path: Path) -> None:
    loaded = saved(tmp_path)
    assert loaded.tokenizer.chat_template is None
    assert AutoTokenizer.from_pretrained(str(tmp_path / "out")).chat_template == DEFAULT_CHAT_TEMPLATE


def test_odd_generation_settings_of_the_base_do_not_stop_the_saving(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base")
    edit(folder / "generation_config.json", do_sample=False, temperature=0.6, top_p=0.9)
    loaded = load_model(str(folder))
    (tmp_path / "out").mkdir()
    save_weights(loaded, {}, tmp_path / "out", torch.float32)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.6


def test_the_card_holds_what_serving_needs(tmp_path: Path) -> None:
    loaded = saved(tmp_path)
    card = json.loads((tmp_path / "out" / CARD).read_text())
    assert card == {
        "schema": 1,
        "rendering": {"separator": " ", "chat_template": DEFAULT_CHAT_TEMPLATE},
        "stop_ids": list(loaded.renderer.stop_ids),
        "kind": "fine-tuned",
    }
    again = load_model(str(tmp_path / "out"))
    assert again.folder.card == card
    assert again.renderer.stop_ids == loaded.renderer.stop_ids
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
