"""The objective of a student, and how far it is from its teacher on rows that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.training.batches import Example, pack
from outcrop.training.distillation.kernel import LinearDistillation, divergence
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.kernels import chunk_rows
from outcrop.training.layout import ROWS, Layout, TeacherRows, lay_out
from outcrop.training.objective import Loss
from outcrop.training.trunk import Trunk


@dataclass(frozen=True)
class Distillation:
    """A share of cross-entropy with the answer, and the divergence from the teacher; for rows with a teacher only.
    Beside them, where its states are known, how far the student's point elsewhere.

    Where the student wrote the answer itself, reverse KL alone (Agarwal et al. 2024, arXiv 2306.13649, alg. 1): its
    gradient is taken with the draws as they are, not through the drawing.
    """

    spec: DistillationSpec

    def __call__(self, hidden: Tensor, head: Tensor, layout: Layout, total_weight: float) -> Loss:
        """See training.objective.Objective."""
        assert layout.teacher is not None, "rows without a teacher"
        weights = layout.weights / total_weight
        if layout.own is None:
            loss = LinearDistillation.apply(hidden, head, layout.targets, weights, layout.teacher, self.spec)
            return Loss(loss + self._apart(hidden, layout.teacher, weights), loss)
        loss = hidden.new_zeros(())
        for spec, chosen in ((self.spec, ~layout.own), (self.spec.on_own_answers, layout.own)):
            rows = chosen.nonzero()[:, 0]
            if len(rows):
                loss = loss + LinearDistillation.apply(
                    hidden[rows], head, layout.targets[rows], weights[rows], layout.teacher.at(rows), spec
                )
        return Loss(loss, loss)

    def _apart(self, hidden: Tensor, teacher: TeacherRows, weights: Tensor) -> Tensor:
        """Σ weights · states_weight · (1 − cosine of the two states) (Sanh et al. 2019, arXiv 1910.01108, §2)."""
        if teacher.states is None or not self.spec.states_weight:
            return hidden.new_zeros(())
        alike = F.cosine_similarity(hidden.float(), teacher.states.float(), dim=-1)
        return self.spec.states_weight * (weights * (1 - alike)).sum()


@torch.no_grad()
def mean_divergence(trunk: Trunk, examples: Sequence[Example], spec: DistillationSpec, tokens: int) -> float:
    """Mean divergence from the teacher in nats per supervised token, computing at most `tokens` tokens at once."""
    trunk.model.eval()
    device, head = trunk.head.weight.device, trunk.head.weight
    total, count = 0.0, 0
    for group in pack(examples, tokens):
        layout = lay_out([segment for _, segment in group], ROWS).to(device)
        assert layout.teacher is not None, "rows without a teacher"
        hidden = trunk(layout)
        for start in range(0, len(hidden), chunk_rows(head)):
            rows = slice(start, start + chunk_rows(head))
            total += float(divergence(F.linear(hidden[rows], head), layout.teacher.at(rows), spec).sum())
        count += len(hidden)
    return total / max(1, count)
