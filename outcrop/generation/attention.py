"""Attention of a pass over the slots: one token of many sequences, runs of tokens, or candidates as trees.

Shape letters: T flat tokens of a pass, B sequences, S tokens of a run, H query heads, K key-value heads, G = H / K,
D head width, W columns, N nodes of a tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.generation.slots import Slots


class Kind(NamedTuple):
    """How a layer attends. scale: of the scores; window: how many tokens back, or None; softcap: c of c·tanh(x / c)."""

    scale: float
    window: int | None = None
    softcap: float | None = None


class Attention(Protocol):
    """What a decoder hands its queries, keys and values to, layer by layer."""

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """Store what must be remembered, attend, and return [T, H·D]."""
        ...


class DecodeAttention:
    """One new token for each of the first B slots, written to column lengths[i] of slot i.

    Query heads that share a key-value head become rows of one product (exact: each has one query position).
    """

    def __init__(self, slots: Slots, lengths: Sequence[int]) -> None:
        device = slots.shape.device
        self._slots, self._lengths = slots, lengths
        self._lengths_B = torch.tensor(lengths, device=device)
        self._places = slots.places(self._lengths_B)
        self._width = max(lengths) + 1
        self._masks: dict[int | None, Tensor | None] = {}

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """T is B."""
        (rows, heads, width), kv_heads = q_THD.shape, k_TKD.shape[1]
        slots, pairs = self._slots, rows * kv_heads
        slots.write_one(layer, self._places, k_TKD, v_TKD)
        q = q_THD.reshape(pairs, heads // kv_heads, width)
        keys = slots.keys[layer][:rows].view(pairs, width, -1)[:, :, : self._width]
        values = slots.values[layer][:rows].view(pairs, -1, width)[:, : self._width]
        mask = self._mask(kind.window, kv_heads, q.dtype)
        if mask is None or kind.softcap is not None:
            scores = torch.bmm(q, keys).mul_(kind.scale)
            if kind.softcap is not None:
                scores = (scores / kind.softcap).tanh_().mul_(kind.softcap)
                scores = scores if mask is None else scores + mask
        else:
            scores = torch.baddbmm(mask, q, keys, alpha=kind.scale)
        return torch.bmm(scores.softmax(-1), values).view(rows, heads * width)

    def _mask(self, window: int | None, kv_heads: int, dtype: torch.dtype) -> Tensor | None:
        """[B·K, 1, W], 0 where a column is seen and -inf where not; None if all are."""
        if window is not None and window >= self._width:
            window = None
        if window not in self._masks:
            self._masks[window] = self._make_mask(window, kv_heads, dtype)
        return self._masks[window]

    def _make_mask(self, window: int | None, kv_heads: int, dtype: torch.dtype) -> Tensor | None:
        if window is None and min(self._lengths) + 1 == self._width:
            return None
        last_B1, columns_W = self._lengths_B[:, None], torch.arange(self._width, device=self._lengths_B.device)
        seen_BW = columns_W <= last_B1
        if window is not None:
            seen_BW &= columns_W > last_B1 - window
        bias_BW = torch.zeros(seen_BW.shape, dtype=dtype, device=seen_BW.device).masked_fill_(~seen_BW, -math.inf)
        return bias_BW[:, None].expand(-1, kv_heads, -1).reshape(len(self._lengths) * kv_heads, 1, self._width)


class Run(NamedTuple):
    """`size` consecutive tokens of the sequence in `slot`, from column `start` on."""

    slot: int
    start: int
    size: int


class RunAttention:
    """Prompts, or pieces of them: runs of tokens laid end to end, each attending to its own slot."""

    def __init__(self, slots: Slots, runs: Sequence[Run]) -> None:
        self._slots, self._runs = slots, runs
        self._masks: dict[tuple[int, int, int | None], Tensor | None] = {}

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """Runs are attended one by one, so that no token pays for another's length."""
        output_THD, first = torch.empty_like(q_THD), 0
        for run in self._runs:
            part = slice(first, first + run.size)
            first += run.size
            self._slots.write_run(layer, run.slot, run.start, k_TKD[part], v_TKD[part])
            if run.start:
                k_KWD, v_KWD = self._slots.read_run(layer, run.slot, run.start + run.size)
                k_KWD = k_KWD.contiguous()
            else:
                k_KWD, v_KWD = k_TKD[part].transpose(0, 1), v_TKD[part].transpose(0, 1)
            mask = self._mask(run, kind.window, q_THD.device)
            output_THD[part] = attend_run(q_THD[part], k_KWD, v_KWD, mask, kind)
        return output_THD.flatten(1)

    def _mask(self, run: Run, window: int | None, device: torch.device) -> Tensor | None:
        """[S, W], true where seen; None stands for plain causal attention."""
        end = run.start + run.size
        window = None if window is None or window >= end else window
        if run.size == 1 and window is None:
            return torch.ones(1, end, dtype=torch.bool, device=device)
        if not run.start and window is None:
            return None
        key = (run.start, run.size, window)
        if key not in self._masks:
            rows_S1 = torch.arange(run.start, end, device=device)[:, None]
            columns_W = torch.arange(end, device=device)
            seen = columns_W <= rows_S1
            self._masks[key] = seen if window is None else seen & (columns_W > rows_S1 - window)
        return self._masks[key]


class Branch(NamedTuple):
    """Nodes of a tree that grows from the first `prefix` tokens of a slot.

    ancestors_NN: row n is true for the nodes on the way to n and for n itself; depths_N: from 0.
    """

    slot: int
    prefix: int
    ancestors_NN: Tensor
    depths_N: Tensor


class TreeAttention:
    """Candidates as trees, laid end to end: each node attends to its prompt and to its ancestors; nothing is stored."""

    def __init__(self, slots: Slots, branches: Sequence[Branch]) -> None:
        self._slots, self._branches = slots, branches
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """T is the sum of all N."""
        output_THD, first = torch.empty_like(q_THD), 0
        for number, branch in enumerate(self._branches):
            part = slice(first, first + len(branch.depths_N))
            first = part.stop
            k_KWD, v_KWD = self._slots.read_run(layer, branch.slot, branch.prefix)
            k_KWD = torch.cat([k_KWD, k_TKD[part].transpose(0, 1)], 1)
            v_KWD = torch.cat([v_KWD, v_TKD[part].transpose(0, 1)], 1)
            output_THD[part] = attend_run(q_THD[part], k_KWD, v_KWD, self._mask(number, kind.window), kind)
        return output_THD.flatten(1)

    def _mask(self, number: int, window: int | None) -> Tensor:
        branch = self._branches[number]
        key = (number, window)
        if key not in self._masks:
            device = branch.depths_N.device
            prompt_P = torch.arange(branch.prefix, device=device)
            positions_N = branch.prefix + branch.depths_N
            seen_NP = torch.ones(len(positions_N), branch.prefix, dtype=torch.bool, device=device)
            seen_NN = branch.ancestors_NN
            if window is not None:
                seen_NP = prompt_P > positions_N[:, None] - window
                seen_NN = seen_NN & (positions_N > positions_N[:, None] - window)
            self._masks[key] = torch.cat([seen_NP, seen_NN], 1)
        return self._masks[key]


def attend_run(q_SHD: Tensor, k_KWD: Tensor, v_KWD: Tensor, mask_SW: Tensor | None, kind: Kind) -> Tensor:
    """Attention of S queries over W columns, [S, H, D]; without a mask it is causal and S is W."""
    (count, heads, width), (kv_heads, columns, _) = q_SHD.shape, k_KWD.shape
    groups = heads // kv_heads
    q_GKSD = q_SHD.view(count, kv_heads, groups, width).permute(2, 1, 0, 3)
    if kind.softcap is None:
        k_GKWD, v_GKWD = (x.expand(groups, kv_heads, columns, width) for x in (k_KWD, v_KWD))
        output_GKSD = F.scaled_dot_product_attention(
            q_GKSD, k_GKWD, v_GKWD, attn_mask=mask_SW, is_causal=mask_SW is None, scale=kind.scale
        )
        return output_GKSD.permute(2, 1, 0, 3).reshape(count, heads, width)
    if mask_SW is None:
        mask_SW = torch.ones(count, columns, dtype=torch.bool, device=q_SHD.device).tril_()
    scores = torch.matmul(q_GKSD, k_KWD.transpose(1, 2)) * kind.scale
    scores = (scores / kind.softcap).tanh() * kind.softcap
    weights = scores.float().masked_fill(~mask_SW, -math.inf).softmax(-1).to(q_SHD.dtype)
    return torch.matmul(weights, v_KWD).permute(2, 1, 0, 3).reshape(count, heads, width)
