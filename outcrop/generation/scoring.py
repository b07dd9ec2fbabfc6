"""Log-likelihoods of candidates: prompts in the KV cache once, candidates as a trie whose nodes are computed once.

All nodes of a trie are fed after the prompt as one sequence in which each token attends to the prompt and to its own
ancestors (the tree attention of SpecInfer, arXiv:2305.09781). Tokens that end candidates are not fed.

Shape letters: N nodes, E edges, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from outcrop.core.completions import Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.generation.answers import Task
from outcrop.generation.limits import Limits, not_finite

# Attention costs nodes × nodes within a group, and beginnings shared by two groups are computed twice.
GROUP_NODES = 64


class Edge(NamedTuple):
    """A token after a slot; slot 0 is the end of the prompt, slot n the node n - 1."""

    slot: int
    token: int


@dataclass(frozen=True)
class Trie:
    """Candidates with their common beginnings merged.

    edges: each one log-probability to compute. paths: the edges of each candidate, by index.
    nodes: indices of the edges that are followed by another, parents before children; depths: from 0.
    ancestors_NN: row n is true for the nodes on the way to n and for n itself.
    """

    edges: tuple[Edge, ...]
    paths: tuple[tuple[int, ...], ...]
    nodes: tuple[int, ...]
    depths: tuple[int, ...]
    ancestors_NN: np.ndarray[tuple[int, int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, candidates: Sequence[Sequence[int]]) -> Trie:
        """Merge candidates, none of them empty."""
        edges: dict[Edge, int] = {}
        slots: dict[int, int] = {}
        depths: list[int] = []
        paths = []
        for candidate in candidates:
            slot, path = 0, []
            for depth, token in enumerate(candidate):
                edge = edges.setdefault(Edge(slot, token), len(edges))
                path.append(edge)
                if depth < len(candidate) - 1:
                    if edge not in slots:
                        slots[edge] = len(slots) + 1
                        depths.append(depth)
                    slot = slots[edge]
            paths.append(tuple(path))
        ordered = tuple(edges)
        ancestors = np.eye(len(slots), dtype=np.bool_)
        for node, edge in enumerate(slots):
            parent = ordered[edge].slot
            if parent:
                ancestors[node] |= ancestors[parent - 1]
        return cls(ordered, tuple(paths), tuple(slots), tuple(depths), ancestors)

    def scores(self, edge_logprobs: Sequence[float]) -> list[Score]:
        """Sum the log-probabilities of the edges along every candidate."""
        along = [tuple(edge_logprobs[edge] for edge in path) for path in self.paths]
        return [Score(sum(logprobs), len(logprobs), logprobs) for logprobs in along]


def group_candidates(candidates: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Indices of candidates in groups of neighbours with at most GROUP_NODES nodes; a longer candidate goes alone."""
    groups: list[list[int]] = []
    nodes = 0
    for at in sorted(range(len(candidates)), key=lambda at: candidates[at]):
        added = len(candidates[at]) - 1
        shared = _shared_nodes(candidates[groups[-1][-1]], candidates[at]) if groups else 0
        if groups and nodes + added - shared <= GROUP_NODES:
            groups[-1].append(at)
            nodes += added - shared
        else:
            groups.append([at])
            nodes = added
    return groups


def _shared_nodes(before: Sequence[int], candidate: Sequence[int]) -> int:
    longest = min(len(before), len(candidate)) - 1
    return next((at for at in range(longest) if before[at] != candidate[at]), longest)


class Group(NamedTuple):
    """Some of a request's candidates, by index, their trie, and the trie's nodes as tensors."""

    members: tuple[int, ...]
    trie: Trie
    tokens_N: Tensor
    depths_N: Tensor
    ancestors_NN: Tensor


@lru_cache(maxsize=64)
def _groups(candidates: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Group, ...]:
    """Rows of a data set mostly have the same candidates."""
    found = []
    for members in group_candidates(candidates):
        trie = Trie.of([candidates[at] for at in members])
        tokens = torch.tensor([trie.edges[edge].token for edge in trie.nodes], dtype=torch.long, device=device)
        depths = torch.tensor(trie.depths, dtype=torch.long, device=device)
        found.append(Group(tuple(members), trie, tokens, depths, torch.from_numpy(trie.ancestors_NN).to(device)))
    return tuple(found)


class Scoring(Task):
    """The candidates of one request, scored as the logits of their prompt and of their nodes come in."""

    def __init__(self, request: ScoreRequest, device: torch.device) -> None:
        super().__init__(request.prompt_ids, request.adapter, max(map(len, request.candidates)))
        self._scores: dict[int, Score] = {}
        self.candidates = request.candidates
        self._first: Tensor | None = None
        self.waiting = list(_groups(request.candidates, device))

    @property
    def finished(self) -> bool:
        return len(self._scores) == len(self.candidates) or super().finished

    def take_prompt(self, logits_V: Tensor) -> None:
        """The logits after the prompt; groups without nodes are scored by them alone."""
        self._first = logits_V.float()[None]
        for group in [group for group in self.waiting if not group.trie.nodes]:
            self.waiting.remove(group)
            self.take_group(group, logits_V[:0].view(0, len(logits_V)))

    def take_group(self, group: Group, logits_NV: Tensor) -> None:
        """The logits after the nodes of a group."""
        assert self._first is not None, "nodes came before their prompt"
        logits_SV = torch.cat([self._first, logits_NV.float()])
        normaliser_S = logits_SV.logsumexp(-1)
        if not bool(torch.isfinite(normaliser_S).all()):
            self.error = not_finite()
            return
        slots, tokens = torch.tensor(group.trie.edges, device=logits_SV.device).unbind(1)
        logprobs = (logits_SV[slots, tokens] - normaliser_S[slots]).tolist()
        self._scores.update(zip(group.members, group.trie.scores(logprobs), strict=True))

    def take(self, scores: Sequence[Score]) -> None:
        """All scores at once, from elsewhere."""
        self._scores = dict(enumerate(scores))

    def scores(self) -> list[Score]:
        """All scores, in the order of the candidates."""
        return [self._scores[at] for at in range(len(self.candidates))]


def check_scoring(request: ScoreRequest, limits: Limits, where: str) -> None:
    """Raise UsageError for prompts and candidates that are empty, not in the vocabulary or too long together."""
    if not request.candidates:
        raise UsageError("There are no candidates to score.", "Give at least one.", where)
    for number, candidate in enumerate(request.candidates):
        if not candidate:
            raise UsageError("A candidate has no tokens.", "Give at least one.", f"{where}, candidate {number}")
        limits.check_ids(candidate, f"{where}, candidate {number}")
    limits.check(request.prompt_ids, max(map(len, request.candidates)), where)
