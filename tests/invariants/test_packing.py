"""Documents laid end to end give the loss and the gradients that each alone gives by transformers' own forward pass."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from outcrop.core.errors import ModelError
from outcrop.training import layout
from outcrop.training.layout import Segment, lay_out
from outcrop.training.trunk import Trunk
from tests.support.documents import documents
from tests.support.families import EXACT, REFUSED, family
from tests.support.tiny import tiny_model
from tests.support.training import distance, our_gradients, plain_gradients

MIXED = [5, 40, 6, 9, 23, 22, 80, 5, 17]
LIMIT = 1e-5


def assert_same(model: Any, batch: list[Segment], **settings: Any) -> None:
    assert distance(our_gradients(model, batch, **settings), plain_gradients(model, batch)) <= LIMIT


@pytest.mark.parametrize("lengths", [[12], [12, 12], MIXED])
def test_lengths_alike_and_mixed(lengths: list[int]) -> None:
    assert_same(tiny_model(), documents(lengths))


@pytest.mark.parametrize("prefix", [layout.MIN_SHARED_PREFIX, 11, 20])
def test_a_shared_prefix_is_computed_once(prefix: int) -> None:
    batch = documents([24, 60, 25, 31, 100], prefix=prefix, answer=3)
    assert lay_out(batch).attention.shared == prefix
    assert_same(tiny_model(), batch)


def test_equal_prompts_share_all_but_the_row_that_predicts() -> None:
    batch = documents([20, 20, 20], prefix=20, answer=4)
    assert lay_out(batch).attention.shared == 15
    assert_same(tiny_model(), batch)


def test_a_prefix_ends_before_the_first_target_however_light() -> None:
    light, heavy = np.zeros(20, np.float32), np.zeros(20, np.float32)
    light[[6, 15]], heavy[15] = [0.25, 1], 1
    batch = [Segment(ids, w) for (ids, *_), w in zip(documents([20, 20], prefix=18), [light, heavy], strict=True)]
    assert lay_out(batch).attention.shared == 5
    assert_same(tiny_model(), batch)


@pytest.mark.parametrize("prefix", [0, 8])
def test_long_documents_go_through_the_kernel_without_a_matrix(prefix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LONG", 24)
    batch = documents([10, 30, 24, 25, 70, 9], prefix=prefix)
    assert [group.mask is None for group in lay_out(batch).attention.groups].count(True) == 3
    assert_same(tiny_model(), batch)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_query_heads_share_key_heads(heads: tuple[int, int]) -> None:
    model = tiny_model(num_attention_heads=heads[0], num_key_value_heads=heads[1])
    assert_same(model, documents(MIXED, prefix=5))


@pytest.mark.parametrize("overrides", [{"tie_word_embeddings": True}, {"attention_bias": True, "mlp_bias": True}])
def test_tied_embeddings_and_biases(overrides: dict[str, bool]) -> None:
    assert_same(tiny_model(**overrides), documents(MIXED))


def test_weights_between_zero_and_one_and_documents_without_any() -> None:
    rng = np.random.default_rng(0)
    batch = [
        Segment(s.ids, rng.random(len(s.ids), np.float32) * (rng.random(len(s.ids)) < 0.5)) for s in documents(MIXED)
    ]
    batch.append(Segment(batch[1].ids, np.zeros_like(batch[1].weights)))
    assert_same(tiny_model(), batch)


def test_every_token_trained() -> None:
    assert_same(tiny_model(), [Segment(ids, np.ones(len(ids), np.float32)) for ids, *_ in documents(MIXED)])


def test_activations_computed_again() -> None:
    assert_same(tiny_model(), documents(MIXED, prefix=5), gradient_checkpointing=True)


@pytest.mark.parametrize("name", EXACT)
def test_other_architectures(name: str) -> None:
    assert_same(family(name), documents([9, 40, 14, 30, 12], prefix=5))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_computed_exactly_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be trained here"):
        Trunk(family(name))


@pytest.mark.parametrize("name", ["mistral", "gemma3", "qwen2"])
def test_rows_that_fit_into_a_sliding_window_are_exact_and_others_refused(name: str) -> None:
    kinds = {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
    model = family(name, sliding_window=16, **(kinds if name == "qwen2" else {}))
    assert_same(model, documents([16, 9, 12], prefix=4))
    with pytest.raises(ModelError, match="17 tokens is longer than the 16"):
        our_gradients(model, documents([9, 17]))


def test_a_window_that_comes_as_a_mask_alone_is_seen_too() -> None:
    """Qwen2-MoE does not tell its attention of the window."""
    kinds = {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
    model = family("qwen2-moe", sliding_window=16, **kinds)
    assert_same(model, documents([16, 9, 12], prefix=4))
    with pytest.raises(ModelError, match="17 tokens is longer than the 16"):
        our_gradients(model, documents([9, 17]))


def test_a_window_that_the_configuration_hides_but_the_attention_is_told_of() -> None:
    model = family("mistral", sliding_window=16)
    model.config.layer_types = ["full_attention", "full_attention"]
    with pytest.raises(ModelError, match="17 tokens is longer than the 16"):
        our_gradients(model, documents([9, 17]))


def test_positions_that_depend_on_the_longest_neighbour_are_refused() -> None:
    scaling = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    model = family("phi3", rope_parameters=scaling, original_max_position_embeddings=24)
    assert_same(model, documents([24, 9, 12]))
    with pytest.raises(ModelError, match="25 tokens is longer than the 24"):
        our_gradients(model, documents([9, 25]))


@pytest.mark.parametrize(("name", "rate"), [("gpt2", "resid_pdrop"), ("opt", "dropout")])
def test_the_models_own_dropout_gives_way(name: str, rate: str) -> None:
    model = family(name, **{rate: 0.5})
    assert_same(model, documents(MIXED))


def test_the_loss_is_transformers_own() -> None:
    """Labels of -100 where nothing is trained, as transformers wants them; its mean is over each document."""
    model, batch = tiny_model(), documents(MIXED, prefix=4)
    ours = our_gradients(model, batch)
    theirs = copy.deepcopy(model)
    total = sum(int(d.weights.sum()) for d in batch)
    losses = []
    for document in batch:
        ids = torch.from_numpy(document.ids.astype(np.int64))
        labels = torch.where(torch.from_numpy(document.weights) > 0, ids, -100)
        losses.append(theirs(input_ids=ids[None], labels=labels[None]).loss * int(document.weights.sum()) / total)
    loss = torch.stack(losses).sum()
    loss.backward()
    expected = {"loss": loss.detach()} | {name: p.grad for name, p in theirs.named_parameters()}
    assert distance(ours, expected) <= LIMIT


def test_label_smoothing_is_torchs() -> None:
    model, batch = tiny_model(), documents([9, 14])
    ours = our_gradients(model, batch, label_smoothing=0.1)
    theirs = copy.deepcopy(model)
    logits, targets = [], []
    for ids, weights, _ in batch:
        row = torch.from_numpy(ids.astype(np.int64))
        logits.append(theirs(input_ids=row[None]).logits[0, :-1][weights[1:] > 0])
        targets.append(row[1:][weights[1:] > 0])
    F.cross_entropy(torch.cat(logits), torch.cat(targets), label_smoothing=0.1).backward()
    plain = F.cross_entropy(torch.cat(logits), torch.cat(targets)).detach()
    assert distance(ours, {"loss": plain} | {name: p.grad for name, p in theirs.named_parameters()}) <= LIMIT
