"""Students in the engine: micro-batches change nothing; one that is its teacher stays, another comes nearer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from outcrop.training.batches import Example
from outcrop.training.distillation.objective import Distillation, mean_divergence
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.distillation.teaching import teach
from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import Segment
from outcrop.training.trunk import Trunk
from tests.support.documents import documents
from tests.support.tiny import tiny_model
from tests.support.training import spec

LENGTHS = [9, 12, 6, 14, 10, 7]


def taught(kept: DistillationSpec, teacher_seed: int = 1) -> list[Example]:
    segments = documents(LENGTHS, prefix=4)
    said = teach(Trunk(tiny_model(teacher_seed)), segments, kept, 40, seed=0)
    return [(Segment(s.ids, s.weights, t),) for s, t in zip(segments, said, strict=True)]


def engine(objective: DistillationSpec, **settings: Any) -> TrainingEngine:
    return TrainingEngine(tiny_model(), spec(**settings), torch.float32, Distillation(objective))


def test_a_teacher_says_what_its_own_forward_pass_says() -> None:
    segments, model = documents(LENGTHS, prefix=4), tiny_model(1)
    kept = DistillationSpec(kept_tokens=8, kept_mass=1.0, temperature=1.5)
    said = teach(Trunk(tiny_model(1)), segments, kept, 40, seed=0)
    for segment, teaching in zip(segments, said, strict=True):
        ids = torch.from_numpy(segment.ids.astype(np.int64))
        with torch.no_grad():
            probabilities = (model(input_ids=ids[None]).logits[0] / 1.5).softmax(-1)
        rows = np.flatnonzero(segment.weights) - 1
        expected = probabilities[rows].topk(8)
        np.testing.assert_array_equal(teaching.ids, expected.indices.numpy())
        np.testing.assert_allclose(teaching.probabilities, expected.values.numpy(), atol=1e-5)
        np.testing.assert_allclose(teaching.rest, 1 - expected.values.sum(-1).numpy(), atol=1e-5)


def test_tokens_are_kept_until_they_have_the_mass() -> None:
    said = teach(Trunk(tiny_model(1)), documents(LENGTHS), DistillationSpec(kept_tokens=64, kept_mass=0.5), 40, 0)
    for teaching in said:
        kept = teaching.probabilities > 0
        assert ((teaching.rest < 0.5) | (kept.sum(-1) == 64)).all()
        smallest = np.where(kept, teaching.probabilities, 1).min(-1)
        assert ((1 - teaching.rest - smallest) < 0.5).all()


def test_draws_are_unbiased_and_repeat_themselves() -> None:
    segments = documents(LENGTHS[:2])
    many = DistillationSpec(signal="sampled", kept_tokens=256)
    whole = teach(Trunk(tiny_model(1)), segments, DistillationSpec(kept_tokens=256, kept_mass=1.0), 40, seed=0)
    sums = np.zeros((3, 300))
    for seed in range(40):
        said = teach(Trunk(tiny_model(1)), segments, many, 40, seed=seed)[0]
        np.testing.assert_allclose(said.probabilities.sum(-1), 1, atol=1e-6)
        for row in range(3):
            sums[row, said.ids[row][said.probabilities[row] > 0]] += said.probabilities[row][
                said.probabilities[row] > 0
            ]
    for row in range(3):
        np.testing.assert_allclose(sums[row, whole[0].ids[row]] / 40, whole[0].probabilities[row], atol=0.02)
    again = [teach(Trunk(tiny_model(1)), segments, many, tokens, seed=7)[1] for tokens in (12, 40)]
    np.testing.assert_array_equal(again[0].ids, again[1].ids)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jensen_shannon"])
@pytest.mark.parametrize("states_weight", [None, 2.0])
def test_micro_batches_add_up(divergence: str, states_weight: float | None) -> None:
    chosen = DistillationSpec(divergence=divergence, gold_share=0.3, kept_tokens=8, states_weight=states_weight)
    batch = taught(chosen)
    whole, pieces = engine(chosen, micro_batch_tokens=4096), engine(chosen, micro_batch_tokens=16)
    losses = [each.gradient(batch, 0)[0] for each in (whole, pieces)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(whole.flat.grad, pieces.flat.grad, rtol=1e-4, atol=1e-6)


def test_states_have_the_gradient_of_their_cosine() -> None:
    """Beside autograd, document by document: the gradient with states, less that without."""
    chosen = DistillationSpec(gold_share=0.3, kept_tokens=8, states_weight=2.0)
    batch = taught(chosen)
    parts = [engine(each) for each in (chosen, chosen.model_copy(update={"states_weight": 0.0}))]
    losses = [each.gradient(batch, 0)[0] for each in parts]
    assert losses[0] == losses[1]  # journals tell the divergence
    student, teacher, expected = tiny_model(), tiny_model(1), torch.zeros(())
    total = sum(float(segment.weights[1:].sum()) for (segment,) in batch)
    for (segment,) in batch:
        rows, ids = np.flatnonzero(segment.weights[1:]), torch.from_numpy(segment.ids.astype(np.int64))[None]
        ours, theirs = (each.get_decoder()(input_ids=ids).last_hidden_state[0][rows] for each in (student, teacher))
        assert segment.teaching is not None
        np.testing.assert_allclose(segment.teaching.states, theirs.detach().half().numpy(), atol=2e-3)
        weights, told = torch.from_numpy(segment.weights[1:][rows]), torch.from_numpy(segment.teaching.states).float()
        expected = expected + 2 * (weights * (1 - torch.cosine_similarity(ours, told, dim=-1))).sum() / total
    expected.backward()
    for name, parameter in student.named_parameters():
        with_states, without = (each.flat.slots[name].of(each.flat.grad) for each in parts)
        pulled = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(with_states - without, pulled, rtol=1e-3, atol=1e-6)


def test_own_answers_have_the_gradient_of_reverse_kl() -> None:
    """Beside autograd over the whole vocabulary, document by document: half of the rows are the student's own."""
    chosen = DistillationSpec(gold_share=0.3, kept_tokens=256, kept_mass=1.0)
    segments = [
        segment._replace(ids=segment.ids % 180 + 4) for segment in documents(LENGTHS, prefix=4)
    ]  # fewer tokens than are kept, so that the distribution is whole
    said = teach(Trunk(tiny_model(1, vocab_size=200)), segments, chosen, 40, seed=0)
    batch: list[Example] = [
        (segment._replace(teaching=teaching._replace(own=bool(number % 2))),)
        for number, (segment, teaching) in enumerate(zip(segments, said, strict=True))
    ]
    model, teacher = tiny_model(vocab_size=200), tiny_model(1, vocab_size=200)
    total = sum(float(segment.weights[1:].sum()) for segment in segments)
    expected = torch.zeros(())
    for number, segment in enumerate(segments):
        ids = torch.from_numpy(segment.ids.astype(np.int64))
        rows = np.flatnonzero(segment.weights)
        log_q = model(input_ids=ids[None]).logits[0][rows - 1].log_softmax(-1)
        with torch.no_grad():
            log_p = teacher(input_ids=ids[None]).logits[0][rows - 1].log_softmax(-1)
        if number % 2:
            loss = (log_q.exp() * (log_q - log_p)).sum(-1)
        else:
            loss = 0.7 * (log_p.exp() * (log_p - log_q)).sum(-1) - 0.3 * log_q[range(len(rows)), ids[rows]]
        expected = expected + loss.sum() / total
    expected.backward()
    student = TrainingEngine(tiny_model(vocab_size=200), spec(micro_batch_tokens=30), torch.float32,
                             Distillation(chosen))  # fmt: skip
    assert student.gradient(batch, 0)[0] == pytest.approx(float(expected.detach()), rel=1e-5)
    plain = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, slot in student.flat.slots.items():
        torch.testing.assert_close(slot.of(student.flat.grad), plain[name], rtol=1e-3, atol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    chosen = DistillationSpec(gold_share=0, kept_tokens=256, kept_mass=1.0)
    student = engine(chosen)
    loss, _ = student.gradient(taught(chosen, teacher_seed=0), 0)
    assert loss == pytest.approx(0, abs=1e-5)
    assert float(student.flat.grad.abs().max()) < 1e-5


def test_with_all_weight_on_the_answer_it_is_cross_entropy() -> None:
    chosen = DistillationSpec(gold_share=1.0)
    batch = taught(chosen)
    ours, plain = engine(chosen), TrainingEngine(tiny_model(), spec(), torch.float32)
    assert ours.gradient(batch, 0)[0] == pytest.approx(plain.gradient(batch, 0)[0], rel=1e-6)
    torch.testing.assert_close(ours.flat.grad, plain.flat.grad, rtol=1e-4, atol=1e-7)


def test_steps_bring_the_student_nearer() -> None:
    chosen = DistillationSpec(gold_share=0, kept_tokens=256)
    batch, student = taught(chosen), engine(chosen)
    before = mean_divergence(student.trunk, batch, chosen, 64)
    assert before == pytest.approx(student.gradient(batch, 0)[0], rel=1e-5)
    student.flat.grad.zero_()
    for step in range(20):
        student.step(batch, step, 1e-2)
    assert mean_divergence(student.trunk, batch, chosen, 64) < before / 2
