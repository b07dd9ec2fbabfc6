"""Muon for accelerators: torch's update of hidden matrices, all matrices of one shape at once instead of one by one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """torch.optim.Muon with Nesterov momentum and adjust_lr_fn "match_rms_adamw" (Jordan et al. 2024; Liu et al. 2025,
    arXiv 2502.16982, eq. 4), in a number of kernels that does not grow with the number of layers."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; closures are not called."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._update(matrices, group)

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        turned = orthogonalised(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = group["lr"] * 0.2 * max(matrices[0].shape) ** 0.5
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(turned.to(matrices[0].dtype).unbind()), alpha=-rate)


def orthogonalised(x_NRC: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About U·Vᵀ of each matrix U·S·Vᵀ, by Newton-Schulz iterations in bf16 (Jordan et al. 2024)."""
    a, b, c = coefficients
    x = x_NRC.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
