"""Low-rank adapters of many requests in one pass (Hu et al. 2021, eq. 3).

A decoding step multiplies with all its adapters side by side and masks what is not a row's own: two products without
gathering, y + B·(m ⊙ (A·x)), 0/1 masks m. Prompts and candidates multiply run by run.

Shape letters: T tokens of a pass, I input width, O output width, R rank of one adapter, X ranks of all side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.generation.linear import FEW_ROWS, Linear

MOST_RANKS_TOGETHER = 1024
"""Side by side up to here; beyond it a step multiplies adapter by adapter."""
SMALL_FACTOR, ROWS_OF_SMALL = 2**18, 8
"""Factors of at most so many numbers are faster as halves up to so many rows (benchmarks/generation/tried.md)."""


class Block(NamedTuple):
    """Some ranks, and the only outputs that they add to."""

    ranks: slice
    outputs: slice


class Factors(NamedTuple):
    """What an adapter adds to one product: y + B·A·x, with its scale in B.

    blocks: where B is not zero, if the product is that of several layers side by side.
    """

    A_RI: Tensor
    B_OR: Tensor
    blocks: tuple[Block, ...] = ()

    @property
    def all_blocks(self) -> tuple[Block, ...]:
        """At least one."""
        return self.blocks or (Block(slice(0, len(self.A_RI)), slice(0, len(self.B_OR))),)


Sites = Mapping[str, Factors]
"""The factors of one adapter, by the name that the trunk has for a product."""


class Part(NamedTuple):
    """Some tokens of a pass that have the same adapter."""

    sites: Sites
    tokens: slice | Tensor

    def among(self, wanted_M: Tensor) -> Part:
        """Those of its tokens that are wanted, by their place there."""
        if isinstance(self.tokens, slice):
            own_M = (wanted_M >= self.tokens.start) & (wanted_M < self.tokens.stop)
        else:
            own_M = torch.isin(wanted_M, self.tokens)
        return Part(self.sites, own_M.nonzero()[:, 0])


class Adapted:
    """The adapters of a pass. `add` is called for every product that may have one."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def add(self, site: str, x_TI: Tensor, y_TO: Tensor) -> Tensor:
        """y with what the adapters add; y may be changed in place."""
        for part in self._parts:
            factors = part.sites.get(site)
            if factors is not None:
                delta = F.linear(F.linear(x_TI[part.tokens], factors.A_RI), factors.B_OR)
                y_TO[part.tokens] += delta
        return y_TO

    def among(self, wanted_M: Tensor) -> Adapted:
        """For a pass of the wanted tokens alone."""
        return Adapted([part.among(wanted_M) for part in self._parts])


@dataclass(frozen=True)
class Joined:
    """The factors of some adapters for one product: A one below the other, and B of every block, without zeros.

    owners: to which adapter each of the ranks belongs.
    """

    A: Linear
    blocks: tuple[tuple[Block, Linear], ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, owned: Sequence[tuple[int, Factors]]) -> Joined:
        """Join the factors of numbered adapters."""
        rows, owners, blocks = list[Tensor](), list[int](), list[tuple[Block, Linear]]()
        given = [(number, factors, block) for number, factors in owned for block in factors.all_blocks]
        for outputs in sorted({(block.outputs.start, block.outputs.stop) for *_, block in given}):
            alike = [each for each in given if each[2].outputs == slice(*outputs)]
            first = len(owners)
            for number, factors, block in alike:
                rows.append(factors.A_RI[block.ranks])
                owners += [number] * len(rows[-1])
            columns = [factors.B_OR[block.outputs, block.ranks] for _, factors, block in alike]
            blocks.append((Block(slice(first, len(owners)), slice(*outputs)), _linear(columns, 1)))
        return cls(_linear(rows, 0), tuple(blocks), tuple(owners))

    def add(self, own_TX: Tensor, y_TO: Tensor) -> Tensor:
        """y + B·own; y may be changed in place."""
        for block, B in self.blocks:
            if B.outputs == y_TO.shape[1]:
                return B.plus(own_TX, y_TO)
            y_TO[:, block.outputs].add_(B.unrounded(own_TX[:, block.ranks]))
        return y_TO


def _linear(factors: list[Tensor], dim: int) -> Linear:
    joined = torch.cat(factors, dim)
    return Linear(joined, few_rows=ROWS_OF_SMALL if joined.numel() <= SMALL_FACTOR else FEW_ROWS)


@dataclass(frozen=True)
class Stack:
    """Some adapters side by side: by site, their joined factors, and to which adapter each of the X ranks belongs."""

    order: tuple[str, ...]
    joined: Mapping[str, tuple[Joined, Tensor]]

    @classmethod
    def of(cls, adapters: Mapping[str, Sites]) -> Stack:
        """Join adapters, by digest."""
        joined, known = {}, dict[tuple[int, ...], Tensor]()
        for site in sorted({site for sites in adapters.values() for site in sites}):
            owned = [(number, sites[site]) for number, sites in enumerate(adapters.values()) if site in sites]
            factors = Joined.of(owned)
            if factors.owners not in known:  # one tensor for all products with the same ranks, as most have
                known[factors.owners] = torch.tensor(factors.owners, device=owned[0][1].A_RI.device)
            joined[site] = factors, known[factors.owners]
        return cls(tuple(adapters), joined)


class AdaptedRows:
    """A decoding step: token t has adapter number owners[t] of the stack, or none (-1)."""

    def __init__(self, stack: Stack, owners: Sequence[int]) -> None:
        self._stack, self._owners = stack, owners
        self._masks: dict[tuple[int, torch.dtype], Tensor] = {}

    def add(self, site: str, x_TI: Tensor, y_TO: Tensor) -> Tensor:
        """y with what the adapters add; y may be changed in place."""
        if site not in self._stack.joined:
            return y_TO
        factors, ranks_X = self._stack.joined[site]
        own_TX = factors.A.unrounded(x_TI)
        return factors.add(own_TX.mul_(self._mask(ranks_X, own_TX.dtype)), y_TO)

    def among(self, wanted_M: Tensor) -> AdaptedRows:
        """For a pass of the wanted tokens alone."""
        return AdaptedRows(self._stack, [self._owners[at] for at in wanted_M.tolist()])

    def _mask(self, ranks_X: Tensor, dtype: torch.dtype) -> Tensor:
        """[T, X], one for each tensor of ranks in the stack."""
        key = id(ranks_X), dtype
        if key not in self._masks:
            owners_T1 = torch.tensor(self._owners, device=ranks_X.device)[:, None]
            self._masks[key] = (owners_T1 == ranks_X).to(dtype)
        return self._masks[key]


class AdapterBank:
    """All adapters that were loaded, and the stack of those that were used together last."""

    def __init__(self) -> None:
        self._adapters: dict[str, Sites] = {}
        self._stack = Stack((), {})

    def __contains__(self, digest: str) -> bool:
        return digest in self._adapters

    @property
    def digests(self) -> tuple[str, ...]:
        """In the order of loading."""
        return tuple(self._adapters)

    def add(self, digest: str, sites: Sites) -> None:
        """Keep an adapter."""
        self._adapters[digest] = sites

    def remove(self, digest: str) -> None:
        """Free an adapter."""
        del self._adapters[digest]
        if digest in self._stack.order:
            self._stack = Stack((), {})

    def for_runs(self, adapters: Sequence[str | None], sizes: Sequence[int]) -> Adapted | None:
        """Runs of tokens, each with one adapter, those of the same adapter together; None if no run has one."""
        runs, first = dict[str, list[slice]](), 0
        for digest, size in zip(adapters, sizes, strict=True):
            if digest is not None:
                runs.setdefault(digest, []).append(slice(first, first + size))
            first += size
        parts = [Part(self._adapters[digest], self._tokens_of(digest, own)) for digest, own in runs.items()]
        return Adapted(parts) if parts else None

    def for_rows(self, adapters: Sequence[str | None]) -> Adapted | AdaptedRows | None:
        """One token per row; None if no row has an adapter."""
        wanted = list(dict.fromkeys(digest for digest in adapters if digest is not None))
        if not wanted:
            return None
        if sum(map(self._ranks, wanted)) > MOST_RANKS_TOGETHER:
            return self.for_runs(adapters, [1] * len(adapters))
        if not set(wanted) <= set(self._stack.order):
            self._restack(wanted)
        number = {digest: at for at, digest in enumerate(self._stack.order)}
        return AdaptedRows(self._stack, [number[d] if d is not None else -1 for d in adapters])

    def _tokens_of(self, digest: str, runs: Sequence[slice]) -> slice | Tensor:
        if len(runs) == 1:
            return runs[0]
        device = next(iter(self._adapters[digest].values())).A_RI.device
        return torch.cat([torch.arange(run.start, run.stop, device=device) for run in runs])

    def _restack(self, wanted: list[str]) -> None:
        """Those that are wanted now, and of those in the stack as many as there is room for."""
        room = MOST_RANKS_TOGETHER - sum(map(self._ranks, wanted))
        for digest in self._stack.order:
            if digest not in wanted and self._ranks(digest) <= room:
                wanted = [*wanted, digest]
                room -= self._ranks(digest)
        self._stack = Stack.of({digest: self._adapters[digest] for digest in wanted})

    def _ranks(self, digest: str) -> int:
        return max(len(factors.A_RI) for factors in self._adapters[digest].values())
