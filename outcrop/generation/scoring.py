"""Log-likelihoods of candidates: prompts in the KV cache once, candidates as a trie whose nodes are computed once.

All nodes of a trie are fed after the prompt as one sequence in which each token attends to the prompt and to its own
ancestors (the tree attention of SpecInfer, arXiv:2305.09781). Tokens that end candidates are not fed.

Shape letters: B rows (requests), W columns of the cached prompts, N nodes, C nodes of a chunk, E edges, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from outcrop.core.completions import Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.generation.batching import CachedRows, Limits, finite, inference, pad_left, plan_batches, prefill

# At most so many logits at once (256 MiB in fp32): with large vocabularies they outweigh everything else.
LOGITS_AT_ONCE = 2**26
# Attention costs nodes × nodes within a group, and beginnings shared by two groups are computed twice.
GROUP_NODES = 64
# The attention implementations that take any mask of shape [B, 1, queries, keys].
MASKED_ATTENTION = ("sdpa", "eager")


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


class _Group(NamedTuple):
    """Some of a request's candidates, by index, and their trie."""

    members: tuple[int, ...]
    trie: Trie


class _Row(NamedTuple):
    """A request and its candidates in groups."""

    request: ScoreRequest
    groups: list[_Group]

    @property
    def width(self) -> int:
        return len(self.request.prompt_ids) + max(len(group.trie.nodes) for group in self.groups)


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


def score_requests(
    model: PreTrainedModel, requests: Sequence[ScoreRequest], limits: Limits, max_batch_tokens: int
) -> list[list[Score]]:
    """Log-likelihoods of all candidates, in order; raises as EmbeddedEngine.score does."""
    groups: dict[tuple[tuple[int, ...], ...], list[_Group]] = {}
    for number, request in enumerate(requests):
        _check(request, limits, f"score request {number}")
        if request.candidates not in groups:
            groups[request.candidates] = [
                _Group(tuple(members), Trie.of([request.candidates[at] for at in members]))
                for members in group_candidates(request.candidates)
            ]
    rows = [_Row(request, groups[request.candidates]) for request in requests]
    scores: dict[int, list[Score]] = {}
    for batch in plan_batches([row.width for row in rows], max_batch_tokens):
        batch_rows = [rows[at] for at in batch]
        longest = max(len(row.request.prompt_ids) + max(map(len, row.request.candidates)) for row in batch_rows)
        with inference(model):
            if model.config._attn_implementation in MASKED_ATTENTION and limits.can_share(longest):
                found = _score_tries(model, batch_rows)
            else:
                found = _score_sequences(model, [row.request for row in batch_rows], max_batch_tokens)
        scores.update(zip(batch, found, strict=True))
    return [scores[at] for at in range(len(requests))]


def _check(request: ScoreRequest, limits: Limits, where: str) -> None:
    if not request.candidates:
        raise UsageError("There are no candidates to score.", "Give at least one.", where)
    for number, candidate in enumerate(request.candidates):
        if not candidate:
            raise UsageError("A candidate has no tokens.", "Give at least one.", f"{where}, candidate {number}")
        limits.check_ids(candidate, f"{where}, candidate {number}")
    limits.check(request.prompt_ids, max(map(len, request.candidates)), where)


def _score_tries(model: PreTrainedModel, rows: Sequence[_Row]) -> list[list[Score]]:
    """Score a batch: prompts once, then group after group, each forgotten before the next."""
    cached, logits_BV = prefill(model, [row.request.prompt_ids for row in rows], share=True)
    scores: list[dict[int, Score]] = [{} for _ in rows]
    for turn in range(max(len(row.groups) for row in rows)):
        groups = [row.groups[turn] if turn < len(row.groups) else _Group((), Trie.of(())) for row in rows]
        found = _score_forest(cached, logits_BV, [group.trie for group in groups])
        for known, group, new in zip(scores, groups, found, strict=True):
            known.update(zip(group.members, new, strict=True))
    return [[known[at] for at in range(len(known))] for known in scores]


def _score_forest(cached: CachedRows, logits_BV: torch.Tensor, tries: Sequence[Trie]) -> list[list[Score]]:
    """Score one trie per row, its nodes in chunks bounded by LOGITS_AT_ONCE; the cache is left as it was."""
    edges = _EdgeLogprobs(tries, logits_BV.device)
    edges.take(0, logits_BV[:, None])
    nodes = max(len(trie.nodes) for trie in tries)
    forest = _Forest.of(tries, nodes, logits_BV.device)
    chunk = max(1, LOGITS_AT_ONCE // logits_BV.numel())
    for first in range(0, nodes, chunk):
        edges.take(first + 1, forest.feed(cached, first, min(first + chunk, nodes)))
    cached.cache.crop(-nodes)
    return edges.scores()


class _Forest(NamedTuple):
    """The nodes of a batch's tries, padded on the right with nodes that attend to the prompt and themselves only."""

    tokens_BN: torch.Tensor
    depths_BN: torch.Tensor
    ancestors_BNN: torch.Tensor

    @classmethod
    def of(cls, tries: Sequence[Trie], nodes: int, device: torch.device) -> _Forest:
        tokens_BN = np.zeros((len(tries), nodes), np.int64)
        depths_BN = np.zeros((len(tries), nodes), np.int64)
        ancestors_BNN = np.tile(np.eye(nodes, dtype=np.bool_), (len(tries), 1, 1))
        for row, trie in enumerate(tries):
            size = len(trie.nodes)
            tokens_BN[row, :size] = [trie.edges[edge].token for edge in trie.nodes]
            depths_BN[row, :size] = trie.depths
            ancestors_BNN[row, :size, :size] = trie.ancestors_NN
        return cls(*(torch.from_numpy(array).to(device) for array in (tokens_BN, depths_BN, ancestors_BNN)))

    def feed(self, cached: CachedRows, first: int, end: int) -> torch.Tensor:
        """The logits after the nodes first … end - 1, [B, C, V]; all nodes before them have been fed."""
        prompt_BCW = cached.attended_BW[:, None].expand(-1, end - first, -1).bool()
        seen = torch.cat([prompt_BCW, self.ancestors_BNN[:, first:end, :end]], dim=2)[:, None]
        dtype = cached.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
        return cached.model(
            input_ids=self.tokens_BN[:, first:end],
            attention_mask=mask,
            position_ids=cached.lengths_B[:, None] + self.depths_BN[:, first:end],
            past_key_values=cached.cache,
            use_cache=True,
        ).logits


class _EdgeLogprobs:
    """The log-probabilities of all edges of a batch of tries, gathered as the logits of their slots come in."""

    def __init__(self, tries: Sequence[Trie], device: torch.device) -> None:
        self._tries = tries
        columns = np.array([(row, *edge) for row, trie in enumerate(tries) for edge in trie.edges], np.int64)
        self._rows_E, self._slots_E, self._tokens_E = torch.from_numpy(columns).to(device).unbind(1)
        self._logprobs_E = torch.zeros(len(columns), device=device)

    def take(self, first_slot: int, logits_BCV: torch.Tensor) -> None:
        """Read the edges that leave the slots first_slot, first_slot + 1, …, whose logits these are."""
        logits_BCV = logits_BCV.float()
        here_E = self._slots_E - first_slot
        taken = ((here_E >= 0) & (here_E < logits_BCV.shape[1])).nonzero()[:, 0]
        rows, slots, tokens = self._rows_E[taken], here_E[taken], self._tokens_E[taken]
        normalisers = finite(logits_BCV.logsumexp(-1)[rows, slots])
        self._logprobs_E[taken] = logits_BCV[rows, slots, tokens] - normalisers

    def scores(self) -> list[list[Score]]:
        """Scores of every trie's candidates, once all slots were taken."""
        parts = self._logprobs_E.split([len(trie.edges) for trie in self._tries])
        return [trie.scores(part.tolist()) for trie, part in zip(self._tries, parts, strict=True)]


def _score_sequences(
    model: PreTrainedModel, requests: Sequence[ScoreRequest], max_batch_tokens: int
) -> list[list[Score]]:
    """Score a batch, each candidate as a row of its own with its prompt: no mask but padding is needed."""
    device = model.get_input_embeddings().weight.device
    pairs = [(request.prompt_ids, candidate) for request in requests for candidate in request.candidates]
    widths = [len(prompt) + len(candidate) - 1 for prompt, candidate in pairs]
    budget = min(max_batch_tokens, LOGITS_AT_ONCE // model.get_input_embeddings().num_embeddings)
    scores: dict[int, Score] = {}
    for batch in plan_batches(widths, budget):
        padded = pad_left([[*pairs[at][0], *pairs[at][1][:-1]] for at in batch], device)
        logits_BKV = model(
            input_ids=padded.tokens_BS,
            attention_mask=padded.attended_BS,
            position_ids=(padded.attended_BS.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=max(len(pairs[at][1]) for at in batch),
        ).logits.float()
        for at, logits_KV in zip(batch, logits_BKV, strict=True):
            scores[at] = _score_row(logits_KV, pairs[at][1])
    in_order = iter([scores[at] for at in range(len(pairs))])
    return [list(islice(in_order, len(request.candidates))) for request in requests]


def _score_row(logits_KV: torch.Tensor, candidate: Sequence[int]) -> Score:
    """The score of a candidate whose last tokens these logits predict."""
    logits_LV = logits_KV[-len(candidate) :]
    tokens_L = torch.tensor(candidate, device=logits_LV.device)
    logprobs_L = logits_LV.gather(-1, tokens_L[:, None])[:, 0] - finite(logits_LV.logsumexp(-1))
    logprobs = tuple(logprobs_L.tolist())
    return Score(sum(logprobs), len(logprobs), logprobs)
