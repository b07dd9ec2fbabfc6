"""Attention over slots, in pieces, token by token and as trees, is that of the whole text with heads that repeat."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from outcrop.generation.attention import Branch, DecodeAttention, Kind, Run, RunAttention, TreeAttention, fold, unfold
from outcrop.generation.slots import CacheShape, Slots

TOKENS, WIDTH = 150, 8
KINDS = [Kind(0.3), Kind(0.3, window=7), Kind(0.3, window=100), Kind(0.3, softcap=2.0), Kind(0.3, 7, 2.0)]


def plain(q_SHD: Tensor, k_SKD: Tensor, v_SKD: Tensor, kind: Kind) -> Tensor:
    """One head after another, every token against the whole text."""
    size, heads, _ = q_SHD.shape
    positions = torch.arange(size)
    seen = positions <= positions[:, None]
    if kind.window is not None:
        seen &= positions > positions[:, None] - kind.window
    output = torch.empty_like(q_SHD)
    for head in range(heads):
        shared = head // (heads // k_SKD.shape[1])
        scores = q_SHD[:, head] @ k_SKD[:, shared].T * kind.scale
        if kind.softcap is not None:
            scores = kind.softcap * torch.tanh(scores / kind.softcap)
        output[:, head] = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v_SKD[:, shared]
    return output.flatten(1)


def texts(count: int, heads: int, kv_heads: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(heads + kv_heads)
    return [
        (
            torch.randn(TOKENS, heads, WIDTH),
            torch.randn(TOKENS, kv_heads, WIDTH),
            torch.randn(TOKENS, kv_heads, WIDTH),
        )
        for _ in range(count)
    ]


def slots(count: int, kv_heads: int) -> Slots:
    made = Slots(CacheShape(1, kv_heads, WIDTH, torch.float32, torch.device("cpu")), count)
    made.reserve(count, TOKENS)
    return made


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (6, 2), (8, 1)])
def test_pieces_and_single_tokens_attend_as_the_whole_text(heads: int, kv_heads: int, kind: Kind) -> None:
    first, second = texts(2, heads, kv_heads)
    made, found = slots(2, kv_heads), [list[Tensor](), list[Tensor]()]
    for spans in ([(0, 0, 40), (1, 0, 3)], [(0, 40, 149), (1, 3, 30)], [(1, 30, 149)]):
        runs = [Run(slot, start, end - start) for slot, start, end in spans]
        parts = [[each[start:end] for each in (first, second)[slot]] for slot, start, end in spans]
        joined = [torch.cat(each) for each in zip(*parts, strict=True)]
        output = RunAttention(made, runs).attend(0, *joined, kind)
        for (slot, _, _), rows in zip(spans, output.split([run.size for run in runs]), strict=True):
            found[slot].append(rows)
    last = [torch.stack([one[-1], other[-1]]) for one, other in zip(first, second, strict=True)]
    output = DecodeAttention(made, [149, 149]).attend(0, *last, kind)
    for slot, text in enumerate((first, second)):
        torch.testing.assert_close(torch.cat([*found[slot], output[slot : slot + 1]]), plain(*text, kind))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (6, 2)])
def test_short_runs_attend_together_as_each_alone(heads: int, kv_heads: int, kind: Kind) -> None:
    """Of one length and of several, from one column and from others, in any order of slots; a long one between them."""
    lengths, order = (3, 8, 5, 100, 8, 1, 20, 17), (5, 0, 3, 7, 1, 4, 2, 6)
    given = texts(len(lengths), heads, kv_heads)
    together, alone = slots(len(lengths), kv_heads), slots(len(lengths), kv_heads)
    for starts in ([0] * len(lengths), lengths):
        runs = [Run(slot, starts[slot], lengths[slot] - (slot == 3) * starts[slot] // 2) for slot in order]
        parts = [[each[run.start : run.start + run.size] for each in given[run.slot]] for run in runs]
        output = RunAttention(together, runs).attend(0, *map(torch.cat, zip(*parts, strict=True)), kind)
        for run, part, rows in zip(runs, parts, output.split([run.size for run in runs]), strict=True):
            torch.testing.assert_close(rows, RunAttention(alone, [run]).attend(0, *part, kind))
            whole = [each[: run.start + run.size] for each in given[run.slot]]
            torch.testing.assert_close(rows, plain(*whole, kind)[run.start :])
    assert torch.equal(together.keys[0], alone.keys[0])
    assert torch.equal(together.values[0], alone.values[0])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
def test_nodes_of_a_tree_attend_to_their_prompt_and_their_ancestors(heads: int, kv_heads: int, kind: Kind) -> None:
    prefix, [(q, k, v)] = 70, texts(1, heads, kv_heads)
    made = slots(1, kv_heads)
    RunAttention(made, [Run(0, 0, prefix)]).attend(0, q[:prefix], k[:prefix], v[:prefix], kind)
    ways = [[0], [0, 1], [0, 1, 2], [0, 3], [4]]  # each node's ancestors and itself
    ancestors = torch.zeros(5, 5, dtype=torch.bool)
    for node, way in enumerate(ways):
        ancestors[node, way] = True
    branch = Branch(0, prefix, ancestors, torch.tensor([len(way) - 1 for way in ways]))
    nodes = slice(prefix, prefix + 5)
    output = TreeAttention(made, [branch]).attend(0, q[nodes], k[nodes], v[nodes], kind)
    for node, way in enumerate(ways):
        of_text = torch.tensor([*range(prefix), *(prefix + each for each in way)])
        torch.testing.assert_close(output[node], plain(q[of_text], k[of_text], v[of_text], kind)[-1])


def test_folding_is_undone() -> None:
    q_SHD = torch.randn(5, 6, WIDTH)
    assert torch.equal(unfold(fold(q_SHD, 3), 3), q_SHD)
    assert torch.equal(fold(q_SHD, 3)[1, :5], q_SHD[:, 3])
