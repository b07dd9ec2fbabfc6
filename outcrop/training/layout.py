"""Padding-free batches: documents laid end to end, and the index tables that keep them apart in attention.

Shapes: T flat tokens, M supervised tokens, N documents of a group, S their padded length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CPU = torch.device("cpu")
MIN_SHARED_PREFIX = 4
LONG = 1024
"""Documents longer than this attend alone, through the kernel that keeps no [S, S] matrix."""

MOST_ENDS = 0.75
"""Of the rows, that go through the last feed-forward alone: gathering and scattering more of them would not pay."""

ROWS, QUERIES, KEYS = 32, 16, 32
"""Rows of a batch, queries and keys of a group come in multiples of these: batches repeat each other's shapes, for each
of which the matrix library compiles and keeps a kernel, and softmax on the CPU wants whole vectors of 32 numbers."""


class Teaching(NamedTuple):
    """What a teacher says at each supervised token of a document, in order: tokens [m, K] and their probabilities
    [m, K], 0 where fewer are kept; rest [m]: the mass of all other tokens; own: the student wrote these tokens;
    states [m, E]: the teacher's last hidden states, None where they are not asked for."""

    ids: NDArray[Any]
    probabilities: NDArray[np.float32]
    rest: NDArray[np.float32]
    own: bool = False
    states: NDArray[np.float16] | None = None


class Segment(NamedTuple):
    """One document of a batch. ids: integers; weights, fp32: weights[i] is the loss weight of predicting ids[i] from
    what precedes it; teaching: for students of a teacher."""

    ids: NDArray[Any]
    weights: NDArray[np.float32]
    teaching: Teaching | None = None


@dataclass(frozen=True)
class Group:
    """Documents that attend together, padded to one length S, after P rows that all of them see.

    query_rows [N*S], key_rows [N*L], L ≥ P+S: flat rows to gather; pads point at row T, which holds zeros;
    mask [1, S, L]: True where attention is allowed; None for one long causal document.
    """

    documents: int
    query_rows: Tensor
    key_rows: Tensor
    mask: Tensor | None


class TeacherRows(NamedTuple):
    """`Teaching` of a batch: ids [M, K], probabilities [M, K], rest [M], states [M, E]."""

    ids: Tensor
    probabilities: Tensor
    rest: Tensor
    states: Tensor | None = None

    def at(self, rows: slice | Tensor) -> TeacherRows:
        """Some of the M rows."""
        states = None if self.states is None else self.states[rows]
        return TeacherRows(self.ids[rows], self.probabilities[rows], self.rest[rows], states)


class HeadTables(NamedTuple):
    """The way to and from groups for tensors of H heads: [(T+1)*H, D] flat, [N, H, S, D] of each group gathered.

    gather [sum N*H*S]: which head of which row comes here; back [T*H]: where it went; sizes: N*H*S of each group.
    """

    gather: Tensor
    back: Tensor
    sizes: list[int]


class Span(NamedTuple):
    """A document's rows in the flat batch; `sees_prefix` says whether the shared rows come before it."""

    start: int
    length: int
    sees_prefix: bool


class Bounds(NamedTuple):
    """Documents end to end, for kernels that take where each begins: queries [N+1] and keys [N+1], int32, on `device`.

    key_rows: the rows to gather keys from, own_keys [T]: where each row's own key is among them, prefix_keys [N*P]:
    where the copies of the shared prefix are; all empty where keys are the rows themselves, as without a prefix.
    """

    queries: Tensor
    keys: Tensor
    longest_query: int
    longest_key: int
    key_rows: Tensor
    own_keys: Tensor
    prefix_keys: Tensor


class _Padded(NamedTuple):
    groups: tuple[Group, ...]
    query_slot: Tensor
    key_slot: Tensor


@dataclass(frozen=True)
class Attention:
    """Who sees whom in a batch of T = `total` rows. The tables that a kernel gathers by are made when it asks for them.

    spans: the documents, end to end; shared: leading rows, a span of their own, that every later document sees, too;
    longest: tokens of a document.
    """

    spans: tuple[Span, ...]
    total: int
    shared: int
    longest: int
    device: torch.device = CPU
    _tables: dict[tuple[str, int], HeadTables] = field(init=False, default_factory=dict, compare=False, repr=False)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Documents of like length, padded to one."""
        return self._padded.groups

    @property
    def query_slot(self) -> Tensor:
        """[T]: where each row sits among the gathered queries of all groups."""
        return self._padded.query_slot

    @property
    def key_slot(self) -> Tensor:
        """[T]: where each row sits among the gathered keys of all groups."""
        return self._padded.key_slot

    @cached_property
    def _padded(self) -> _Padded:
        return _Padded(*(_moved(part, self.device) for part in _padded(self.spans, self.shared, self.total)))

    @cached_property
    def bounds(self) -> Bounds:
        """Where documents begin, without padding."""
        return Bounds(*(_moved(part, self.device) for part in _bounds(self.spans, self.shared)))

    def tables(self, kind: str, heads: int) -> HeadTables:
        """For tensors of `heads` heads, made once for all layers; kind: "query" or "key"."""
        if (kind, heads) not in self._tables:
            self._tables[kind, heads] = self._head_tables(kind, heads)
        return self._tables[kind, heads]

    def _head_tables(self, kind: str, heads: int) -> HeadTables:
        slot: Tensor = getattr(self, f"{kind}_slot")
        gather, number, base = [], [], 0
        each = torch.arange(heads, device=slot.device)
        for group in self.groups:
            rows = getattr(group, f"{kind}_rows").view(group.documents, 1, -1)
            gather.append((rows * heads + each[:, None]).flatten())
            where = torch.arange(base, base + len(gather[-1]), device=slot.device)
            number.append(where.view(group.documents, heads, -1).transpose(1, 2).reshape(-1, heads))
            base += len(gather[-1])
        back = torch.cat(number).index_select(0, slot).flatten()
        return HeadTables(torch.cat(gather), back, [len(part) for part in gather])


@dataclass(frozen=True)
class Layout:
    """A micro-batch, flat.

    ids [T], positions [T]; supervised [M]: rows whose next token is a target, ascending; targets [M]; weights [M];
    teacher: what one says at the supervised rows, if there is one; own [M]: where the student wrote the targets, None
    for nowhere; ends: the rows that go through the last feed-forward, after which no row sees another: the supervised
    and a few more, None for all.
    """

    ids: Tensor
    positions: Tensor
    supervised: Tensor
    targets: Tensor
    weights: Tensor
    attention: Attention
    teacher: TeacherRows | None = None
    own: Tensor | None = None
    ends: Tensor | None = None

    def to(self, device: torch.device) -> Layout:
        """The same layout with all tables on `device`."""
        return self if device.type == "cpu" else _moved(self, device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, TeacherRows):
        return TeacherRows(*(_moved(item, device) for item in value))
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, Attention):
        return replace(value, device=device)
    if isinstance(value, Layout | Group):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value) if f.init})
    return value


def shared_prefix(segments: Sequence[Segment]) -> int:
    """Length of the longest common prefix that holds no target and leaves each document a row before its first one."""
    if len(segments) < 2 or max(len(s.ids) for s in segments) > LONG:
        return 0
    limit = min(int((s.weights != 0).argmax()) if s.weights.any() else len(s.ids) for s in segments) - 1
    if limit < MIN_SHARED_PREFIX:
        return 0
    first = segments[0].ids[:limit]
    same = np.logical_and.reduce([other.ids[:limit] == first for other in segments[1:]])
    shared = limit if same.all() else int(same.argmin())
    return shared if shared >= MIN_SHARED_PREFIX else 0


def lay_out(segments: Sequence[Segment], multiple: int = 1) -> Layout:
    """Lay documents end to end. A prefix that all of them share is computed once, which is exact: causal attention
    makes its hidden states the same in every document, and the gradients of its keys and values are summed.

    A document that nothing is learnt from fills the batch up to a multiple of `multiple` rows.
    """
    prefix = shared_prefix(segments)
    own = [(s.ids[prefix:], s.weights[prefix:]) for s in segments]
    filler = -(prefix + sum(len(ids) for ids, _ in own)) % multiple
    if filler:
        own.append((np.zeros(filler, np.int32), np.zeros(filler, np.float32)))
    lengths = np.array([len(ids) for ids, _ in own])
    starts = prefix + np.cumsum(lengths) - lengths
    ids = np.concatenate([segments[0].ids[:prefix], *(ids for ids, _ in own)]).astype(np.int64)
    weights = np.concatenate([np.zeros(prefix, np.float32), *(weights for _, weights in own)])
    positions = np.arange(len(ids))
    positions[prefix:] -= np.repeat(starts - prefix, lengths)
    positions[len(ids) - filler :] = 0  # whatever the prefix, within the reach of the model
    weights[positions == 0] = 0  # nothing precedes it
    target_rows = np.flatnonzero(weights)
    spans = [Span(0, prefix, False)] if prefix else []
    spans += [Span(int(a), int(n), bool(prefix)) for a, n in zip(starts, lengths, strict=True)]
    return Layout(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        supervised=torch.from_numpy(target_rows - 1),
        targets=torch.from_numpy(ids[target_rows]),
        weights=torch.from_numpy(weights[target_rows]),
        attention=Attention(tuple(spans), len(ids), prefix, max(len(s.ids) for s in segments)),
        teacher=_teacher(segments, len(target_rows)),
        own=_own(segments),
        ends=_ends(target_rows - 1, len(ids), multiple),
    )


def _ends(supervised: NDArray[np.int64], total: int, multiple: int) -> Tensor | None:
    """The supervised rows, and others up to a multiple; None where leaving the rest out would not pay."""
    if _rounded(len(supervised), multiple) > MOST_ENDS * total:
        return None
    others = np.setdiff1d(np.arange(total), supervised, assume_unique=True)[: -len(supervised) % multiple]
    return torch.from_numpy(np.union1d(supervised, others))


def _teacher(segments: Sequence[Segment], supervised: int) -> TeacherRows | None:
    taught = [segment.teaching for segment in segments if segment.teaching is not None]
    if not taught:
        return None
    assert len(taught) == len(segments), "some documents of a batch have a teacher, others none"
    assert sum(len(teaching.rest) for teaching in taught) == supervised, "a teacher that does not say every token"
    width = max(teaching.ids.shape[1] for teaching in taught)
    ids, probabilities = np.zeros((supervised, width), np.int64), np.zeros((supervised, width), np.float32)
    start = 0
    for teaching in taught:
        count, kept = teaching.ids.shape
        ids[start : start + count, :kept] = teaching.ids
        probabilities[start : start + count, :kept] = teaching.probabilities
        start += count
    rest = np.concatenate([teaching.rest for teaching in taught])
    told = [teaching.states for teaching in taught if teaching.states is not None]
    assert len(told) in (0, len(taught)), "some documents of a batch have the teacher's states, others none"
    states = torch.from_numpy(np.concatenate(told)) if told else None
    return TeacherRows(torch.from_numpy(ids), torch.from_numpy(probabilities), torch.from_numpy(rest), states)


def _own(segments: Sequence[Segment]) -> Tensor | None:
    taught = [segment.teaching for segment in segments if segment.teaching is not None]
    if not any(teaching.own for teaching in taught):
        return None
    return torch.from_numpy(np.repeat([teaching.own for teaching in taught], [len(each.rest) for each in taught]))


def _padded(spans: Sequence[Span], prefix: int, total: int) -> _Padded:
    groups = [_group(members, prefix, total) for members in _grouped(spans)]
    query_slot, key_slot = np.zeros(total, np.int64), np.zeros(total, np.int64)
    row_of_query = np.concatenate([group.query_rows.numpy() for group in groups])
    real = row_of_query < total
    query_slot[row_of_query[real]] = np.flatnonzero(real)
    base = 0
    for index, group in enumerate(groups):
        rows = group.key_rows.numpy()
        own = (rows < total) & ((rows >= prefix) | (index == 0))
        key_slot[rows[own]] = base + np.flatnonzero(own)
        base += len(rows)
    return _Padded(tuple(groups), torch.from_numpy(query_slot), torch.from_numpy(key_slot))


def _bounds(spans: Sequence[Span], prefix: int) -> Bounds:
    lengths = np.array([span.length for span in spans])
    before = np.array([prefix * span.sees_prefix for span in spans])
    queries, keys = (np.r_[0, np.cumsum(sizes)].astype(np.int32) for sizes in (lengths, before + lengths))
    longest = int(lengths.max()), int((before + lengths).max())
    if not prefix:
        nothing = torch.empty(0, dtype=torch.int64)
        return Bounds(torch.from_numpy(queries), torch.from_numpy(keys), *longest, nothing, nothing, nothing)
    seen = [np.r_[np.arange(b), np.arange(s.start, s.start + s.length)] for s, b in zip(spans, before, strict=True)]
    own = [np.arange(k + b, k + b + n) for k, b, n in zip(keys[:-1], before, lengths, strict=True)]
    shared = [np.arange(k, k + b) for k, b in zip(keys[:-1], before, strict=True)]
    tables = (torch.from_numpy(np.concatenate(rows).astype(np.int64)) for rows in (seen, own, shared))
    return Bounds(torch.from_numpy(queries), torch.from_numpy(keys), *longest, *tables)


def _grouped(spans: Sequence[Span]) -> list[list[Span]]:
    """Documents of similar length together, so that padding stays below half; the prefix first; long ones alone."""
    bins: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: (s.sees_prefix, s.length)):
        last = bins[-1][0] if bins else None
        alike = last is not None and last.sees_prefix == span.sees_prefix and last.length * 2 >= span.length
        if alike and span.length <= LONG:
            bins[-1].append(span)
        else:
            bins.append([span])
    return bins


def _group(members: list[Span], prefix: int, total: int) -> Group:
    seen = prefix if members[0].sees_prefix else 0
    longest = max(span.length for span in members)
    length = longest if longest > LONG else _rounded(longest, QUERIES)
    starts = np.array([span.start for span in members])[:, None]
    lengths = np.array([span.length for span in members])[:, None]
    offsets = np.arange(length)[None]
    own = np.where(offsets < lengths, starts + offsets, total)  # [N, S]
    keys = np.full((len(members), length if longest > LONG else _rounded(seen + length, KEYS)), total)
    keys[:, :seen] = np.arange(seen)
    keys[:, seen : seen + length] = own
    mask = None if longest > LONG else torch.from_numpy(np.tri(length, keys.shape[1], seen, dtype=bool)[None])
    return Group(len(members), torch.from_numpy(own.reshape(-1)), torch.from_numpy(keys.reshape(-1)), mask)


def _rounded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
