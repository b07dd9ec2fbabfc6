"""Documents end to end: ids, positions, targets, and who sees whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from outcrop.training import layout
from outcrop.training.layout import QUERIES, ROWS, Layout, Segment, lay_out, shared_prefix
from tests.support.documents import documents


def segment(ids: list[int], weights: list[float]) -> Segment:
    return Segment(np.array(ids, np.int32), np.array(weights, np.float32))


def seen(made: Layout) -> Tensor:
    """Which row sees which, [T, T], from the tables that attention gathers by."""
    total = len(made.ids)
    result = torch.zeros(total + 1, total + 1, dtype=torch.bool)
    for group in made.attention.groups:
        queries = group.query_rows.view(group.documents, -1)
        keys = group.key_rows.view(group.documents, -1)
        mask = torch.ones(1, queries.shape[1], keys.shape[1]).tril().bool() if group.mask is None else group.mask
        for query, key in zip(queries, keys, strict=True):
            for row, allowed in zip(query, mask[0], strict=True):
                result[row, key[allowed]] = True
    return result[:total, :total]


def seen_by_bounds(made: Layout) -> Tensor:
    """The same from where documents begin: each query sees the keys of its document up to its own, the last ones
    side by side."""
    bounds, total = made.attention.bounds, len(made.ids)
    keys = bounds.key_rows if len(bounds.key_rows) else torch.arange(total)
    result = torch.zeros(total, total, dtype=torch.bool)
    for q, q_end, k, k_end in zip(bounds.queries, bounds.queries[1:], bounds.keys, bounds.keys[1:], strict=False):
        rows, columns = int(q_end - q), int(k_end - k)
        assert (rows, columns) <= (bounds.longest_query, bounds.longest_key)
        for row in range(rows):
            result[int(q) + row, keys[int(k) : int(k) + columns - rows + row + 1]] = True
    return result


def expected(lengths: list[int], prefix: int) -> Tensor:
    """The same from the definition: causal within a document, and the prefix for all."""
    total = prefix + sum(lengths)
    document = np.repeat(np.arange(len(lengths) + 1), [prefix, *lengths])
    same = document[:, None] == document[None]
    return (
        torch.from_numpy((same | (document == 0)[None]) & np.tri(total, dtype=bool))
        if prefix
        else torch.from_numpy(same & np.tri(total, dtype=bool))
    )


def test_two_documents() -> None:
    made = lay_out([segment([7, 8, 9], [0, 0, 1]), segment([5, 6, 7, 8], [0, 1, 0, 0.5])])
    assert made.ids.tolist() == [7, 8, 9, 5, 6, 7, 8]
    assert made.positions.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert made.supervised.tolist() == [1, 3, 5]
    assert made.targets.tolist() == [9, 6, 8]
    assert made.weights.tolist() == [1, 1, 0.5]
    assert made.attention.longest == 4
    assert torch.equal(seen(made), expected([3, 4], 0))


def test_a_shared_prefix_comes_first_and_is_seen_by_all() -> None:
    made = lay_out([segment([1, 2, 3, 4, 5, 6], [0] * 5 + [1]), segment([1, 2, 3, 4, 7, 8, 9], [0] * 5 + [1, 1])])
    assert made.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert made.positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6]
    assert made.supervised.tolist() == [4, 6, 7]
    assert made.targets.tolist() == [6, 8, 9]
    assert made.attention.longest == 7
    assert torch.equal(seen(made), expected([2, 3], 4))


def test_the_first_token_of_a_document_is_never_a_target() -> None:
    made = lay_out([segment([1, 2], [1, 1]), segment([3, 4], [1, 0])])
    assert made.supervised.tolist() == [0]
    assert made.targets.tolist() == [2]


@pytest.mark.parametrize(
    ("weights", "shared"),
    [
        ([[0, 0, 0, 0, 0, 0, 0, 1]] * 2, 6),  # one row before the target stays with each document
        ([[0, 0, 0, 0, 0, 0.5, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1]], 4),  # the first target, not the heaviest
        ([[0, 0, 0, 0, 1, 1, 1, 1]] * 2, 0),  # 3 would be left: too few to be worth it
        ([[0] * 8] * 2, 7),  # nothing trained
        ([[1] * 8] * 2, 0),
    ],
)
def test_how_much_is_shared(weights: list[list[float]], shared: int) -> None:
    assert shared_prefix([segment(list(range(8)), row) for row in weights]) == shared


def test_nothing_is_shared_with_a_long_document(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = documents([20, 30], prefix=10)
    assert shared_prefix(batch) == 10
    assert shared_prefix(batch[:1]) == 0
    monkeypatch.setattr(layout, "LONG", 29)
    assert shared_prefix(batch) == 0


@given(st.lists(st.integers(2, 40), min_size=1, max_size=9), st.booleans(), st.sampled_from([7, 1024]))
def test_each_row_sees_its_document_up_to_itself(lengths: list[int], shared: bool, long: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LONG", long)
        prefix = 5 if shared and len(lengths) > 1 and max(lengths) + 7 <= long else 0
        made = lay_out(documents([n + prefix + 2 * bool(prefix) for n in lengths], prefix=prefix, answer=1))
        found = seen(made)
    assert made.attention.shared == prefix
    own = [n + 2 * bool(prefix) for n in lengths]
    assert torch.equal(found, expected(own, prefix))
    assert torch.equal(seen_by_bounds(made), found)
    assert len(made.ids) == prefix + sum(own)


def test_every_key_and_every_copy_of_the_prefix_can_be_found_among_those_gathered() -> None:
    bounds = lay_out(documents([9, 12, 20], prefix=5)).attention.bounds
    assert bounds.key_rows[bounds.own_keys].tolist() == list(range(9 + 7 + 15))
    assert bounds.key_rows[bounds.prefix_keys].view(3, 5).tolist() == [list(range(5))] * 3


@given(st.lists(st.integers(2, 200), min_size=1, max_size=20))
def test_padding_stays_below_half_and_slots_point_at_their_rows(lengths: list[int]) -> None:
    made = lay_out(documents(lengths, answer=1))
    rows = torch.cat([group.query_rows for group in made.attention.groups])
    assert len(rows) <= sum(2 * length if length > QUERIES else QUERIES for length in lengths)
    assert torch.equal(rows[made.attention.query_slot], torch.arange(sum(lengths)))
    keys = torch.cat([group.key_rows for group in made.attention.groups])
    assert torch.equal(keys[made.attention.key_slot], torch.arange(sum(lengths)))


@given(st.lists(st.integers(2, 40), min_size=1, max_size=9), st.booleans())
def test_rows_fill_up_to_a_multiple_with_a_document_nobody_sees(lengths: list[int], shared: bool) -> None:
    batch = documents([n + 9 for n in lengths], prefix=6 if shared else 0, answer=1)
    exact, filled = lay_out(batch), lay_out(batch, ROWS)
    total = len(exact.ids)
    assert len(filled.ids) % ROWS == 0
    assert len(filled.ids) - total < ROWS
    assert torch.equal(filled.ids[:total], exact.ids)
    assert torch.equal(filled.supervised, exact.supervised)
    assert int(filled.positions.max()) == int(exact.positions.max())
    assert torch.equal(seen(filled)[:total, :total], seen(exact))
    assert not seen(filled)[:total, total:].any()


def test_on_the_cpu_nothing_moves() -> None:
    made = lay_out(documents([4, 9]))
    assert made.to(torch.device("cpu")) is made


def test_everything_moves_to_another_device() -> None:
    moved = lay_out(documents([4, 9, 30], prefix=0)).to(torch.device("meta"))
    tensors = [moved.ids, moved.positions, moved.supervised, moved.targets, moved.weights, moved.attention.query_slot]
    tensors += [moved.attention.key_slot, *(group.query_rows for group in moved.attention.groups)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.attention.groups[0].mask is not None
    assert moved.attention.groups[0].mask.device.type == "meta"
    assert moved.attention.longest == 30
