"""Packing into micro-batches. The order of rows is tested in tests/invariants/test_order.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.data.records import Origin
from outcrop.models.rendering import Rendered
from outcrop.training.batches import BatchPlan, from_rows, micro_batches, pack, total_weight
from outcrop.training.layout import Segment
from tests.support.documents import documents, rows


@given(st.lists(st.integers(3, 60), min_size=1, max_size=30), st.integers(16, 80))
def test_every_segment_once_and_within_the_room(lengths: list[int], room: int) -> None:
    examples = rows(documents(lengths))
    groups = pack(examples, room)
    assert sorted(number for group in groups for number, _ in group) == list(range(len(lengths)))
    assert all(segment is examples[number][0] for group in groups for number, segment in group)
    for group in groups:
        assert len(group) == 1 or sum(len(segment.ids) for _, segment in group) <= room
    order = [len(segment.ids) for group in groups for _, segment in group]
    assert order == sorted(order, reverse=True)


def test_a_document_longer_than_the_room_is_alone() -> None:
    assert [len(piece) for piece in micro_batches(rows(documents([100, 10, 6])), 16)] == [1, 2]


def test_segments_of_one_example_keep_its_number() -> None:
    one, two, three = documents([9, 4, 6])
    assert [[number for number, _ in group] for group in pack([(two,), (), (one, three)], 10)] == [[2], [2, 0]]


def test_rows_become_examples_of_one_segment() -> None:
    rendered = Rendered([5, 6, 7], [0.0, 1.0, 0.5], Origin("rows.jsonl", 1))
    ((segment,),) = from_rows([rendered])
    assert segment.ids.tolist() == [5, 6, 7]
    assert segment.weights.tolist() == [0, 1, 0.5]
    assert segment.weights.dtype == np.float32


def test_the_weight_of_a_batch_leaves_out_first_tokens() -> None:
    ones = Segment(np.arange(4), np.ones(4, np.float32))
    assert total_weight([(ones, ones), (ones,)]) == 9


@pytest.mark.parametrize(("count", "batch", "steps"), [(10, 5, 2), (11, 5, 3), (1, 32, 1)])
def test_steps_per_epoch(count: int, batch: int, steps: int) -> None:
    assert BatchPlan(count, batch, 0).steps_per_epoch == steps
