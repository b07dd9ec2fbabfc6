"""Scores of rows against the model's own forward pass and its own greedy decoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from outcrop.training.layout import Segment
from outcrop.training.scoring import Evaluation, RowScore, score_rows, summarise
from outcrop.training.trunk import Trunk
from tests.support.documents import documents, plain_loss, rows
from tests.support.tiny import VOCABULARY, tiny_model


@pytest.mark.parametrize("tokens", [16, 4096])
def test_nats_and_weights_of_each_row_in_order(tokens: int) -> None:
    batch = [Segment(s.ids, s.weights * np.float32(0.5 + i)) for i, s in enumerate(documents([9, 40, 5, 22], prefix=4))]
    with torch.no_grad():
        expected = [float(plain_loss(tiny_model(), [segment])) for segment in batch]
    model = tiny_model().train()
    scores = score_rows(Trunk(model), rows(batch), tokens)
    assert [score.weight for score in scores] == pytest.approx([3 * (0.5 + i) for i in range(4)])
    assert [score.nats / score.weight for score in scores] == pytest.approx(expected, abs=1e-5)
    assert not model.training


def test_a_row_of_several_segments_is_their_sum() -> None:
    one, two = documents([9, 14])
    trunk = Trunk(tiny_model())
    apart = score_rows(trunk, [(one,), (two,)], 100)
    (joint,) = score_rows(trunk, [(one, two)], 10)
    assert joint.nats == pytest.approx(apart[0].nats + apart[1].nats)
    assert joint.weight == 6


def test_exact_is_what_greedy_decoding_would_give() -> None:
    model = tiny_model()
    made = []
    for ids, weights, _ in documents([9, 12, 20]):
        greedy = ids[:-3].tolist()
        for _ in range(3):
            greedy.append(int(model(input_ids=torch.tensor([greedy])).logits[0, -1].argmax()))
        other = [*greedy[:-1], (greedy[-1] + 1) % VOCABULARY]
        made += [Segment(np.array(greedy), weights), Segment(np.array(other), weights)]
    trunk = Trunk(model)
    assert [score.exact for score in score_rows(trunk, rows(made), 4096)] == [True, False] * 3
    joint = [(made[0], made[2]), (made[0], made[3]), (made[1], made[2])]
    assert [score.exact for score in score_rows(trunk, joint, 4096)] == [True, False, False]


def test_no_gradient_is_kept() -> None:
    model = tiny_model()
    score_rows(Trunk(model), rows(documents([9])), 4096)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_summary() -> None:
    scores = [RowScore(3.0, 1.0, True), RowScore(5.0, 3.0, False)]
    assert summarise(scores) == Evaluation(loss=2.0, exact_match=0.5)
    assert math.isfinite(summarise([]).loss)
