"""Attention of a pass over the slots: one token of many sequences, runs of tokens, or candidates as trees.

Shape letters: T flat tokens of a pass, B sequences, S tokens of a run, H query heads, K key-value heads, G = H / K,
D head width, W columns, N nodes of a tree, P pairs of sequence and key-value head, X queries of a pair.

Scores are made by batched products and kept whole: on a CPU that takes half the time of the fused kernels, which are
made for long texts, and a query never has more than some thousand columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from outcrop.generation.slots import Places, Slots

WIDTH_STEP = 64
"""Columns of a product are a multiple of this: oneDNN plans every new shape, at ten times the cost of a small one."""

QUERY_BLOCK = 128
"""Queries of a run that attend together."""

SHORT_RUN, SIZE_STEP = 64, 8
"""Runs of at most so many tokens attend together with others of the same length, rounded up to a multiple."""


class Kind(NamedTuple):
    """How a layer attends. scale: of the scores; window: how many tokens back, or None; softcap: c of c·tanh(x / c)."""

    scale: float
    window: int | None = None
    softcap: float | None = None


class Text(NamedTuple):
    """A text whose last tokens are of this pass."""

    ids_S: Tensor
    last: int


class Attention(Protocol):
    """What a decoder hands its queries, keys and values to, layer by layer."""

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """Store what must be remembered, attend, and return [T, H·D]."""
        ...

    def texts(self, ids_T: Tensor) -> Iterator[Text]:
        """For slots that hold token ids as keys: store what must be remembered, and give all that is attended to."""
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
        self._width = round_up(max(lengths) + 1)
        self._masks: dict[int | None, Tensor] = {}

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """T is B."""
        (rows, heads, width), kv_heads = q_THD.shape, k_TKD.shape[1]
        slots, pairs = self._slots, rows * kv_heads
        slots.write_one(layer, self._places, k_TKD, v_TKD)
        keys = slots.keys[layer][:rows].view(pairs, width, -1)[:, :, : self._width]
        values = slots.values[layer][:rows].view(pairs, -1, width)[:, : self._width]
        mask = self._mask(kind.window, kv_heads, q_THD.dtype)
        scores = masked_scores(q_THD.reshape(pairs, heads // kv_heads, width), keys, mask, kind)
        return torch.bmm(scores.softmax(-1), values).view(rows, heads * width)

    def texts(self, ids_T: Tensor) -> Iterator[Text]:
        """One for each slot."""
        self._slots.write_one(0, self._places, ids_T, ids_T)
        for slot, length in enumerate(self._lengths):
            yield Text(self._slots.keys[0][slot, 0, 0, : length + 1], 1)

    def _mask(self, window: int | None, kv_heads: int, dtype: torch.dtype) -> Tensor:
        """[B·K, 1, W]."""
        if window not in self._masks:
            last_B1, columns_W = self._lengths_B[:, None], torch.arange(self._width, device=self._lengths_B.device)
            bias_BW = bias(seen(last_B1, columns_W, window), dtype)
            self._masks[window] = bias_BW.repeat_interleave(kv_heads, 0)[:, None]
        return self._masks[window]


class Run(NamedTuple):
    """`size` consecutive tokens of the sequence in `slot`, from column `start` on."""

    slot: int
    start: int
    size: int


class Bundle(NamedTuple):
    """Runs of about one length that attend together, padded with their last tokens to S.

    slots_B; tokens_BS: of the pass; real_T: which of B·S are no padding, in their order; places_T: where those are
    stored; start, size: of a run.
    """

    slots_B: Tensor
    tokens_BS: Tensor
    real_T: Tensor
    places_T: Places
    start: int
    size: int


class RunAttention:
    """Prompts, or pieces of them: runs of tokens laid end to end, each attending to its own slot.

    Short ones of about one length attend together; of long ones, blocks of queries see only the columns up to their
    last, so that half of the causal square is never computed.
    """

    def __init__(self, slots: Slots, runs: Sequence[Run]) -> None:
        self._slots, self._runs = slots, runs
        self._masks: dict[tuple[int, int, int, int | None], Tensor] = {}
        alike: dict[tuple[int, int], list[tuple[int, Run]]] = {}
        self._single: list[tuple[int, Run]] = []  # with the place of its first token in the pass
        first = 0
        for run in runs:
            size = -(-run.size // SIZE_STEP) * SIZE_STEP
            short = size <= SHORT_RUN and run.start + size <= slots.columns
            (alike.setdefault((run.start, size), []) if short else self._single).append((first, run))
            first += run.size
        self._bundles = list[Bundle]()
        for (start, size), found in alike.items():
            if len(found) > 1:
                self._bundles.append(self._bundle(start, size, found))
            else:
                self._single += found

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """No token pays for another's length."""
        output_THD = torch.empty_like(q_THD)
        for bundle in self._bundles:
            self._attend_together(layer, bundle, q_THD, k_TKD, v_TKD, kind, output_THD)
        for single in self._single:
            self._attend_alone(layer, single, q_THD, k_TKD, v_TKD, kind, output_THD)
        return output_THD.flatten(1)

    def _attend_alone(
        self, layer: int, single: tuple[int, Run], q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind,
        output_THD: Tensor,
    ) -> None:  # fmt: skip
        (first, run), groups = single, q_THD.shape[1] // k_TKD.shape[1]
        part = slice(first, first + run.size)
        self._slots.write_run(layer, run.slot, run.start, k_TKD[part], v_TKD[part])
        for start in range(0, run.size, QUERY_BLOCK):
            size = min(QUERY_BLOCK, run.size - start)
            width = min(round_up(run.start + start + size), self._slots.columns)
            keys_KDW = self._slots.keys[layer][run.slot, :, :, :width]
            values_KWD = self._slots.values[layer][run.slot, :, :width]
            mask = self._mask(run.start + start, size, groups, kind.window, q_THD.dtype)
            q_KXD = fold(q_THD[first + start : first + start + size], groups)
            weights = masked_scores(q_KXD, keys_KDW, mask[:, :width], kind).softmax(-1)
            output_THD[first + start : first + start + size] = unfold(torch.bmm(weights, values_KWD), groups)

    def _attend_together(
        self, layer: int, bundle: Bundle, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind, output_THD: Tensor
    ) -> None:
        (runs, size), (kv_heads, width) = bundle.tokens_BS.shape, k_TKD.shape[1:]
        groups = q_THD.shape[1] // kv_heads
        tokens_T = bundle.tokens_BS.view(-1)[bundle.real_T]
        self._slots.write_one(layer, bundle.places_T, k_TKD[tokens_T], v_TKD[tokens_T])
        columns = min(round_up(bundle.start + size), self._slots.columns)
        keys = self._slots.keys[layer][..., :columns].index_select(0, bundle.slots_B).flatten(0, 1)
        values = self._slots.values[layer][:, :, :columns].index_select(0, bundle.slots_B).flatten(0, 1)
        mask = self._mask(bundle.start, size, groups, kind.window, q_THD.dtype)[:, :columns]
        q_BSKGD = q_THD[bundle.tokens_BS.view(-1)].view(runs, size, kv_heads, groups, width)
        q_PXD = q_BSKGD.permute(0, 2, 3, 1, 4).reshape(runs * kv_heads, groups * size, width)
        found_PXD = torch.bmm(masked_scores(q_PXD, keys, mask, kind).softmax(-1), values)
        found_BSHD = found_PXD.view(runs, kv_heads * groups, size, width).transpose(1, 2)
        output_THD.index_copy_(0, tokens_T, found_BSHD.reshape(runs * size, -1, width)[bundle.real_T])

    def _bundle(self, start: int, size: int, found: Sequence[tuple[int, Run]]) -> Bundle:
        device = self._slots.shape.device
        firsts, lengths = ([first for first, _ in found], [run.size for _, run in found])
        place_S, lengths_B1 = torch.arange(size, device=device), torch.tensor(lengths, device=device)[:, None]
        tokens_BS = torch.tensor(firsts, device=device)[:, None] + torch.minimum(place_S, lengths_B1 - 1)
        real_BS = place_S < lengths_B1
        slots_B = torch.tensor([run.slot for _, run in found], device=device)
        columns_T = (start + place_S).expand(len(found), size)[real_BS]
        places_T = self._slots.places(columns_T, slots_B[:, None].expand(-1, size)[real_BS])
        return Bundle(slots_B, tokens_BS, real_BS.view(-1).nonzero()[:, 0], places_T, start, size)

    def texts(self, ids_T: Tensor) -> Iterator[Text]:
        """One for each run."""
        for run, ids in zip(self._runs, ids_T.split([run.size for run in self._runs]), strict=True):
            self._slots.write_run(0, run.slot, run.start, ids[:, None, None], ids[:, None, None])
            yield Text(self._slots.keys[0][run.slot, 0, 0, : run.start + run.size], run.size)

    def _mask(self, start: int, size: int, groups: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """[G·S, W]."""
        key = (start, size, groups, window)
        if key not in self._masks:
            device = self._slots.shape.device
            rows_S1 = torch.arange(start, start + size, device=device)[:, None]
            columns_W = torch.arange(round_up(start + size), device=device)
            self._masks[key] = bias(seen(rows_S1, columns_W, window), dtype).repeat(groups, 1)
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
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}

    def attend(self, layer: int, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, kind: Kind) -> Tensor:
        """T is the sum of all N."""
        output_THD, first = torch.empty_like(q_THD), 0
        groups = q_THD.shape[1] // k_TKD.shape[1]
        for number, branch in enumerate(self._branches):
            part = slice(first, first + len(branch.depths_N))
            first = part.stop
            # Columns between the prompt and the next multiple are masked; the nodes follow after them.
            width = min(round_up(branch.prefix), self._slots.columns)
            keys_KDW = torch.cat([self._slots.keys[layer][branch.slot, :, :, :width], k_TKD[part].permute(1, 2, 0)], -1)
            values_KWD = torch.cat([self._slots.values[layer][branch.slot, :, :width], v_TKD[part].transpose(0, 1)], 1)
            mask = self._mask(number, width, groups, kind.window, q_THD.dtype)
            weights = masked_scores(fold(q_THD[part], groups), keys_KDW, mask, kind).softmax(-1)
            output_THD[part] = unfold(torch.bmm(weights, values_KWD), groups)
        return output_THD.flatten(1)

    def texts(self, ids_T: Tensor) -> Iterator[Text]:
        """One for each node: the prompt and the way to it."""
        sizes = [len(branch.depths_N) for branch in self._branches]
        for branch, ids_N in zip(self._branches, ids_T.split(sizes), strict=True):
            prompt = self._slots.keys[0][branch.slot, 0, 0, : branch.prefix]
            for ancestors_N in branch.ancestors_NN:
                yield Text(torch.cat([prompt, ids_N[ancestors_N]]), 1)

    def _mask(self, number: int, width: int, groups: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """[G·N, W + N]."""
        key = (number, groups, window)
        if key not in self._masks:
            branch = self._branches[number]
            positions_N = branch.prefix + branch.depths_N
            columns_W = torch.arange(width, device=positions_N.device)
            seen_NW = seen(positions_N[:, None], columns_W, window) & (columns_W < branch.prefix)
            seen_NN = branch.ancestors_NN & seen(positions_N[:, None], positions_N, window)
            self._masks[key] = bias(torch.cat([seen_NW, seen_NN], 1), dtype).repeat(groups, 1)
        return self._masks[key]


def round_up(columns: int) -> int:
    """The next multiple of WIDTH_STEP."""
    return -(-columns // WIDTH_STEP) * WIDTH_STEP


def seen(positions_S1: Tensor, columns_W: Tensor, window: int | None) -> Tensor:
    """[S, W], true where a token at that position attends to that column."""
    causal = columns_W <= positions_S1
    return causal if window is None else causal & (columns_W > positions_S1 - window)


def bias(seen_SW: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where true, -inf where not."""
    return torch.zeros(seen_SW.shape, dtype=dtype, device=seen_SW.device).masked_fill_(~seen_SW, -math.inf)


def fold(q_SHD: Tensor, groups: int) -> Tensor:
    """Query heads that share a key-value head as more queries of it: [K, G·S, D]."""
    size, heads, width = q_SHD.shape
    return q_SHD.view(size, heads // groups, groups, width).permute(1, 2, 0, 3).reshape(-1, groups * size, width)


def unfold(output_KXD: Tensor, groups: int) -> Tensor:
    """[K, G·S, D] back to [S, H, D]."""
    kv_heads, rows, width = output_KXD.shape
    return output_KXD.view(kv_heads * groups, rows // groups, width).transpose(0, 1)


def masked_scores(q_PXD: Tensor, keys_PDW: Tensor, mask: Tensor, kind: Kind) -> Tensor:
    """Scaled, capped and masked scores [P, X, W], in the model's dtype as in transformers' eager attention."""
    scores = torch.bmm(q_PXD, keys_PDW)
    if kind.softcap is None:
        return torch.add(mask, scores, alpha=kind.scale)  # less time than baddbmm, which first copies the mask
    scores = scores.mul_(kind.scale / kind.softcap).tanh_().mul_(kind.softcap)
    return scores.add_(mask)
