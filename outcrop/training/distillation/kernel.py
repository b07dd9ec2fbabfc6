"""From hidden states to the loss of a student and its gradient, in one pass over the logits, whatever the divergence.

A teacher is known by a few tokens and the mass of all others, so a step costs what cross-entropy costs: no second
output matrix, and no row as long as the vocabulary is kept. Shapes: M supervised tokens, C of them at once, K kept
tokens, E embedding, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from outcrop.training.distillation.divergences import DIVERGENCES, Classes, Distance
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.kernels import chunk_rows
from outcrop.training.layout import TeacherRows

LEAST = 1e-9
"""What the unkept tokens of a teacher have at least where a student gives them anything: 0 would be infinitely far."""
TINY = 1e-38


class Student(NamedTuple):
    """The student's softmax over the vocabulary, in two parts: kept [C, K] and rest [C, 1] are probabilities, their
    logarithms beside them; exponentials [C, V] are 0 at kept tokens, and `total` [C, 1] makes probabilities of them."""

    kept: Tensor
    rest: Tensor
    log_kept: Tensor
    log_rest: Tensor
    exponentials: Tensor
    total: Tensor


class LinearDistillation(Function):
    """Σ weights · (gold_share · cross-entropy + (1 − gold_share) · T² · divergence) of softmax(hidden·Wᵀ / T).

    hidden [M, E], weight [V, E], targets [M], weights [M] (divided by the total weight of the step). Returns that sum.
    The gradient of the divergence D(q) by a logit is (q/T)(∂D/∂q − Σ q ∂D/∂q), and equal tokens of the rest share
    ∂D/∂q: one factor for the whole row, and corrections at the kept tokens.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, teacher: TeacherRows,
        spec: DistillationSpec,
    ) -> Tensor:  # fmt: skip
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        for start in range(0, len(targets), chunk_rows(weight)):
            rows = slice(start, start + chunk_rows(weight))
            part = hidden[rows]
            logits = F.linear(part, weight)
            logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
            loss, grad = _loss(logits, targets[rows, None], weights[rows, None], teacher.at(rows), spec)
            total = total + loss
            grad = grad.to(part.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad @ weight
            if grad_weight is not None:
                grad_weight.addmm_(grad.t(), part)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        scale, (grad_hidden, grad_weight) = grads[0], ctx.saved_tensors
        scaled = [None if g is None else g.mul_(scale) for g in (grad_hidden, grad_weight)]
        return scaled[0], scaled[1], None, None, None, None


def divergence(logits: Tensor, teacher: TeacherRows, spec: DistillationSpec) -> Tensor:
    """Of the student's distribution from the teacher's at each token [C], without T² and without a gradient."""
    return _distance(_student(logits.float(), teacher, spec.temperature)[0], teacher, spec).value


def _loss(
    logits: Tensor, targets: Tensor, weights: Tensor, teacher: TeacherRows, spec: DistillationSpec
) -> tuple[Tensor, Tensor]:
    """The loss of C tokens and its gradient [C, V]. targets, weights [C, 1]."""
    gold, temperature = spec.gold_share, spec.temperature
    assert gold is not None, "the kernel takes a resolved spec"
    highest, wanted = logits.amax(-1, keepdim=True), logits.gather(1, targets)
    plain = None if temperature == 1 or gold == 0 else torch.log_softmax(logits, -1)
    student, there = _student(logits, teacher, temperature)
    distance = _distance(student, teacher, spec)
    pull = weights * (1 - gold) * temperature * distance.pull
    mean = pull.sum(-1, keepdim=True)
    factor = pull[:, -1:] / student.rest.clamp(min=TINY) - mean
    at_kept = pull[:, :-1] - student.kept * mean
    if plain is None:
        factor, at_kept = factor + weights * gold, at_kept + weights * gold * student.kept
    grad = student.exponentials.mul_(factor / student.total).scatter_add_(1, teacher.ids, at_kept * there)
    loss = (weights[:, 0] * (1 - gold) * temperature**2 * distance.value).sum()
    if gold == 0:
        return loss, grad
    if plain is None:
        nll = student.total.log() - (wanted - highest)
    else:
        nll = -plain.gather(1, targets)
        grad.add_(plain.exp_().mul_(weights * gold))
    return loss + (weights * gold * nll).sum(), grad.scatter_add_(1, targets, -weights * gold)


def _student(logits: Tensor, teacher: TeacherRows, temperature: float) -> tuple[Student, Tensor]:
    """The student's probabilities, and which of the K places hold a token [C, K]. The rest is summed without the kept
    tokens, not subtracted from 1, so that it is right however small it is."""
    there = teacher.probabilities > 0
    highest = logits.amax(-1, keepdim=True)
    at_kept = (logits.gather(1, teacher.ids) - highest) / temperature
    exponentials = (logits - highest).div_(temperature).exp_()
    kept = exponentials.gather(1, teacher.ids) * there
    exponentials.scatter_add_(1, teacher.ids, -kept)
    rest = exponentials.sum(-1, keepdim=True)
    total = rest + kept.sum(-1, keepdim=True)
    log_total = total.log()
    log_rest = rest.clamp(min=TINY).log() - log_total
    student = Student(kept / total, rest / total, (at_kept - log_total) * there, log_rest, exponentials, total)
    return student, there


def _distance(student: Student, teacher: TeacherRows, spec: DistillationSpec) -> Distance:
    rest = teacher.rest[:, None]
    log_kept = teacher.probabilities.clamp(min=TINY).log() * (teacher.probabilities > 0)
    classes = Classes(
        torch.cat([teacher.probabilities, rest], 1),
        torch.cat([log_kept, rest.clamp(min=LEAST).log()], 1),
        torch.cat([student.kept, student.rest], 1),
        torch.cat([student.log_kept, student.log_rest], 1),
    )
    return DIVERGENCES[spec.divergence](classes, spec.mixture)
