"""Against the formulas of TRL and DistillKit, written out in float64 over the whole vocabulary, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.training import kernels
from outcrop.training.distillation.kernel import LinearDistillation, TeacherRows, divergence
from outcrop.training.distillation.spec import DistillationSpec

DIVERGENCES = ["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl", "skewed_reverse_kl"]
M, E, V, K = 7, 5, 11, 4


def spec(**fields: Any) -> DistillationSpec:
    return DistillationSpec.parse({"gold_share": 0.0, **fields})


def leaves(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((M, E), (V, E))]
    return made[0].requires_grad_(), made[1].requires_grad_()


def teacher_logits(seed: int = 5) -> Tensor:
    return 2 * torch.randn(M, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(logits: Tensor, temperature: float = 1.0) -> TeacherRows:
    probabilities = (logits / temperature).softmax(-1)
    return TeacherRows(torch.arange(V).expand(M, V), probabilities, torch.zeros(M, dtype=torch.float64))


def sparse(logits: Tensor, kept: int = K) -> TeacherRows:
    values, ids = logits.softmax(-1).topk(kept)
    values[2, 1:] = 0  # a row that keeps one token; what stands in the other places must not matter
    ids[2, 1:] = 0
    return TeacherRows(ids, values, 1 - values.sum(-1))


TARGETS = torch.arange(M) * 3 % V
WEIGHTS = torch.linspace(0.2, 1.0, M, dtype=torch.float64)


def trl(student: Tensor, teacher: Tensor, beta: float, temperature: float) -> Tensor:
    """generalized_jsd_loss of TRL's GKDTrainer, per token: 0 is forward, 1 reverse."""
    log_q, log_p = (F.log_softmax(logits / temperature, -1) for logits in (student, teacher))
    if beta == 0:
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    if beta == 1:
        return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
    weight = torch.tensor(beta, dtype=log_q.dtype)
    mixed = torch.logsumexp(torch.stack([log_q + torch.log1p(-weight), log_p + torch.log(weight)]), 0)
    parts = [F.kl_div(mixed, log, reduction="none", log_target=True) for log in (log_p, log_q)]
    return (beta * parts[0] + (1 - beta) * parts[1]).sum(-1)


def classes(p: Tensor, q: Tensor, mixture: float) -> list[Tensor]:
    """All divergences of two distributions, in the order of DIVERGENCES."""
    m, swapped = mixture * p + (1 - mixture) * q, mixture * q + (1 - mixture) * p
    return [
        (p * (p / q).log()).sum(),
        (q * (q / p).log()).sum(),
        (mixture * p * (p / m).log() + (1 - mixture) * q * (q / m).log()).sum(),
        (p * (p / m).log()).sum(),
        (q * (q / swapped).log()).sum(),
    ]


def in_classes(student: Tensor, teacher: TeacherRows, name: str, mixture: float) -> Tensor:
    """The divergence of the distributions over kept tokens and one class for the others, token by token."""
    found = []
    for row in range(len(student)):
        q_all = student[row].softmax(-1)
        kept = [int(i) for i, p in zip(teacher.ids[row], teacher.probabilities[row], strict=True) if p > 0]
        others = [i for i in range(V) if i not in kept]
        q = torch.stack([*(q_all[i] for i in kept), q_all[others].sum()])
        p = torch.cat([teacher.probabilities[row][teacher.probabilities[row] > 0], teacher.rest[row : row + 1]])
        found.append(classes(p, q, mixture)[DIVERGENCES.index(name)])
    return torch.stack(found)


def same(ours: Tensor, expected: Tensor, inputs: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours, expected)
    found, wanted = (torch.autograd.grad(loss, inputs) for loss in (ours, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("name", "beta"), [("forward_kl", 0), ("reverse_kl", 1), ("jensen_shannon", 0.3)])
def test_a_whole_teacher_gives_the_loss_of_trl(name: str, beta: float, temperature: float) -> None:
    hidden, weight = leaves()
    chosen = spec(divergence=name, mixture=beta % 1 or 0.5, temperature=temperature)
    teacher = whole(teacher_logits(), temperature)
    ours = LinearDistillation.apply(hidden, weight, TARGETS, WEIGHTS, teacher, chosen)
    expected = trl(hidden @ weight.t(), teacher_logits(), beta, temperature) * temperature**2
    same(ours, (expected * WEIGHTS).sum(), (hidden, weight))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("gold", [0.25, 1.0])
def test_mixing_with_the_answer_is_that_of_hinton(gold: float, temperature: float) -> None:
    """DistillKit's weighted sum of cross-entropy at temperature 1 and T² · KL at T."""
    hidden, weight = leaves()
    logits = hidden @ weight.t()
    teacher = whole(teacher_logits(), temperature)
    ours = LinearDistillation.apply(
        hidden, weight, TARGETS, WEIGHTS, teacher, spec(gold_share=gold, temperature=temperature)
    )
    hard = F.cross_entropy(logits, TARGETS, reduction="none")
    soft = trl(logits, teacher_logits(), 0, temperature) * temperature**2
    same(ours, ((gold * hard + (1 - gold) * soft) * WEIGHTS).sum(), (hidden, weight))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_kept_tokens_and_one_class_for_the_rest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "CHUNK", 3)
    hidden, weight = leaves()
    teacher, chosen = sparse(teacher_logits()), spec(divergence=name, mixture=0.2)
    ours = LinearDistillation.apply(hidden, weight, TARGETS, WEIGHTS, teacher, chosen)
    expected = in_classes(hidden @ weight.t(), teacher, name, 0.2)
    same(ours, (expected * WEIGHTS).sum(), (hidden, weight))
    plain = divergence((hidden @ weight.t()).detach(), TeacherRows(*(x for x in teacher)), chosen)
    torch.testing.assert_close(plain.double(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_draws_give_the_loss_of_distillkit() -> None:
    """Without mass outside the kept tokens: Σ p (log p − log q) over them, DistillKit's sparse KL with missing
    "zero"."""
    hidden, weight = leaves()
    values, ids = teacher_logits().softmax(-1).topk(K)
    teacher = TeacherRows(ids, values / values.sum(-1, keepdim=True), torch.zeros(M, dtype=torch.float64))
    ours = LinearDistillation.apply(hidden, weight, TARGETS, WEIGHTS, teacher, spec(signal="sampled"))
    log_q = (hidden @ weight.t()).log_softmax(-1).gather(1, ids)
    expected = (teacher.probabilities * (teacher.probabilities.log() - log_q)).sum(-1)
    same(ours, (expected * WEIGHTS).sum(), (hidden, weight))


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize(("gold", "temperature"), [(0.0, 1.0), (0.4, 1.0), (0.4, 2.0)])
def test_gradients(name: str, gold: float, temperature: float) -> None:
    chosen = spec(divergence=name, mixture=0.3, gold_share=gold, temperature=temperature)
    teacher, (hidden, weight) = sparse(teacher_logits()), leaves()
    found = torch.autograd.grad(
        LinearDistillation.apply(hidden, weight, TARGETS, WEIGHTS, teacher, chosen), [hidden, weight]
    )
    for leaf, gradient in zip((hidden, weight), found, strict=True):
        direction, ends = torch.randn_like(leaf), []
        for step in (1e-6, -1e-6):
            moved = [each.detach() + step * direction if each is leaf else each.detach() for each in (hidden, weight)]
            ends.append(LinearDistillation.apply(*moved, TARGETS, WEIGHTS, teacher, chosen))
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_student_that_gives_the_rest_nothing_has_finite_gradients(name: str) -> None:
    logits = torch.zeros(1, V, dtype=torch.float32)
    logits[0, 3] = 300.0
    hidden, weight = logits.clone().requires_grad_(), torch.eye(V, requires_grad=True)
    teacher = TeacherRows(torch.tensor([[3, 4]]), torch.tensor([[0.5, 0.3]]), torch.tensor([0.2]))
    loss = LinearDistillation.apply(
        hidden, weight, torch.tensor([4]), torch.ones(1), teacher, spec(divergence=name, gold_share=0.5)
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_frozen_parts_and_no_rows() -> None:
    hidden, weight = leaves()
    teacher = sparse(teacher_logits())
    LinearDistillation.apply(hidden, weight.detach(), TARGETS, WEIGHTS, teacher, spec()).backward()
    assert hidden.grad is not None
    empty = TeacherRows(torch.zeros(0, K, dtype=torch.long), torch.zeros(0, K), torch.zeros(0))
    none = LinearDistillation.apply(
        torch.zeros(0, E), weight.detach().float().requires_grad_(), TARGETS[:0], torch.zeros(0), empty, spec()
    )
    assert none.item() == 0


def test_draws_are_for_forward_divergences_only() -> None:
    with pytest.raises(Exception, match="draws from the teacher do not give reverse_kl"):
        spec(signal="sampled", divergence="reverse_kl")
