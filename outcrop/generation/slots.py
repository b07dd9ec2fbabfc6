"""Keys and values of many sequences: a slot each, in two tensors that grow with the longest sequence.

Shape letters: L layers, P slots, K key-value heads, D head width, W columns (one per token), S tokens of a segment.
Keys lie transposed, [D, W], because a decoding step then multiplies without copying them: four times as fast on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FIRST_COLUMNS = 256


class CacheShape(NamedTuple):
    """What one token takes in the cache."""

    layers: int
    heads: int
    head_width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.heads * self.head_width * self.dtype.itemsize


class Segment(NamedTuple):
    """Keys and values of a run of tokens, apart from any slot."""

    keys_LKDS: Tensor
    values_LKSD: Tensor

    @property
    def length(self) -> int:
        """How many tokens."""
        return self.keys_LKDS.shape[-1]

    def part(self, start: int, end: int) -> Segment:
        """A copy of some of its tokens, so that the whole can be freed."""
        return Segment(self.keys_LKDS[..., start:end].clone(), self.values_LKSD[:, :, start:end].clone())


class Slots:
    """The cache of up to `count` sequences. Tensors grow by doubling; columns behind a sequence's end hold any
    finite numbers."""

    def __init__(self, shape: CacheShape, count: int) -> None:
        self.shape, self.count, self.columns, self._made = shape, count, 0, 0
        self._allocate(0, 0)

    def reserve(self, slots: int, columns: int) -> None:
        """Make room for that many slots of that many tokens."""
        if slots > self._made or columns > self.columns:
            old_keys, old_values, made, width = self.keys_LPKDW, self.values_LPKWD, self._made, self.columns
            self._allocate(
                made if slots <= made else min(self.count, max(slots, 2 * made)),
                width if columns <= width else max(-(-columns // FIRST_COLUMNS) * FIRST_COLUMNS, 2 * width),
            )
            self.keys_LPKDW[:, :made, :, :, :width] = old_keys
            self.values_LPKWD[:, :made, :, :width] = old_values

    def _allocate(self, slots: int, columns: int) -> None:
        layers, heads, width, dtype, device = self.shape
        self._made, self.columns = slots, columns
        self.keys_LPKDW = torch.zeros(layers, slots, heads, width, columns, dtype=dtype, device=device)
        self.values_LPKWD = torch.zeros(layers, slots, heads, columns, width, dtype=dtype, device=device)
        self.keys, self.values = self.keys_LPKDW.unbind(0), self.values_LPKWD.unbind(0)
        self._key_rows = torch.arange(slots * heads * width, device=device).view(slots, heads * width)
        self._value_rows = torch.arange(slots * heads, device=device).view(slots, heads)

    def write_one(self, layer: int, places: Places, keys_BKD: Tensor, values_BKD: Tensor) -> None:
        """Store one token at each of B places."""
        self.keys[layer].view(-1).index_copy_(0, places.of_keys, keys_BKD.reshape(-1))
        values = self.values[layer]
        values.view(-1, values.shape[-1]).index_copy_(0, places.of_values, values_BKD.reshape(-1, values.shape[-1]))

    def places(self, columns_B: Tensor, slots_B: Tensor | None = None) -> Places:
        """Where a step writes: column columns_B[i] of slot slots_B[i] (None: of slot i), in every layer."""
        at, rows = columns_B[:, None], slice(len(columns_B)) if slots_B is None else slots_B
        return Places(
            (self._key_rows[rows] * self.columns + at).view(-1), (self._value_rows[rows] * self.columns + at).view(-1)
        )

    def write_run(self, layer: int, slot: int, start: int, keys_SKD: Tensor, values_SKD: Tensor) -> None:
        """Store consecutive tokens of one slot."""
        end = start + len(keys_SKD)
        self.keys[layer][slot, :, :, start:end] = keys_SKD.permute(1, 2, 0)
        self.values[layer][slot, :, start:end] = values_SKD.transpose(0, 1)

    def copy_out(self, slot: int, start: int, end: int) -> Segment:
        """A copy of some of a slot's tokens."""
        keys, values = self.keys_LPKDW[:, slot], self.values_LPKWD[:, slot]
        return Segment(keys[..., start:end].clone(), values[:, :, start:end].clone())

    def copy_in(self, slot: int, start: int, segment: Segment) -> None:
        """Put tokens into a slot."""
        end = start + segment.length
        self.keys_LPKDW[:, slot, :, :, start:end] = segment.keys_LKDS
        self.values_LPKWD[:, slot, :, start:end] = segment.values_LKSD

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot over another's."""
        self.keys_LPKDW[:, target, :, :, :length] = self.keys_LPKDW[:, source, :, :, :length]
        self.values_LPKWD[:, target, :, :length] = self.values_LPKWD[:, source, :, :length]

    def clear(self, slot: int) -> None:
        """Remove numbers that are not finite: they would outlast a weight of zero."""
        self.keys_LPKDW[:, slot] = 0
        self.values_LPKWD[:, slot] = 0

    @property
    def bytes(self) -> int:
        """Memory of both tensors."""
        return self.keys_LPKDW.nbytes + self.values_LPKWD.nbytes


class Places(NamedTuple):
    """Indices into a layer's flattened keys (by number) and values (by row)."""

    of_keys: Tensor
    of_values: Tensor
