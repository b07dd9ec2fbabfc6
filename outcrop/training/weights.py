"""Trainable weights in one flat buffer: one copy, one norm and one optimizer step for all of them.

The fp32 master is what the optimizer updates; the model computes with views of a copy in the compute dtype
(the master itself in fp32). Gradients arrive in one flat buffer of the compute dtype.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Slot:
    """Where a parameter lies in the flat buffers."""

    name: str
    start: int
    shape: torch.Size

    def of(self, flat: Tensor) -> Tensor:
        """This parameter's view of a flat buffer."""
        return flat[self.start : self.start + self.shape.numel()].view(self.shape)


class FlatWeights:
    """Takes over `parameters` (name → nn.Parameter): their storage and gradients become views of flat buffers.

    Matrices come first, those named in `hidden` before all: `hidden` is how many leading elements they have, `decay`
    how many leading elements weight decay applies to.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], dtype: torch.dtype, hidden: Collection[str] = ()
    ) -> None:
        names = sorted(parameters, key=lambda n: (parameters[n].dim() < 2, n not in hidden))
        self.slots: dict[str, Slot] = {}
        start = 0
        for name in names:
            self.slots[name] = Slot(name, start, parameters[name].shape)
            start += parameters[name].numel()
        self.hidden = sum(parameters[n].numel() for n in hidden)
        self.decay = sum(parameters[n].numel() for n in names if parameters[n].dim() >= 2)
        device = next(iter(parameters.values())).device
        self.master = torch.empty(start, device=device)
        for name, slot in self.slots.items():
            slot.of(self.master).copy_(parameters[name].detach())
        self.compute = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.grad = torch.zeros_like(self.compute)
        for name, slot in self.slots.items():
            parameters[name].data = slot.of(self.compute)
            parameters[name].grad = slot.of(self.grad)

    def publish(self) -> None:
        """Copy the master into the weights that the model computes with."""
        if self.compute is not self.master:
            self.compute.copy_(self.master)

    def state(self) -> dict[str, Tensor]:
        """fp32 weights by name, as views of the master."""
        return {name: slot.of(self.master) for name, slot in self.slots.items()}
