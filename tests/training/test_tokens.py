"""Text as windows of tokens: every token but the first of each piece is predicted, once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.training.tokens import TokenShard, Windows, by_document

documents_of = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=30), min_size=1, max_size=12)


@pytest.mark.parametrize(("vocabulary", "bytes_each"), [(65_536, 2), (65_537, 4)])
def test_ids_come_back_and_take_no_more_bytes_than_needed(vocabulary: int, bytes_each: int, tmp_path: Path) -> None:
    written = TokenShard.write(tmp_path / "tokens", ([1, 2], [vocabulary - 1]), vocabulary)
    again = TokenShard(tmp_path / "tokens", vocabulary)
    assert again.ids.tolist() == [1, 2, vocabulary - 1]
    assert again.ends.tolist() == [2, 3]
    assert (tmp_path / "tokens" / "tokens.bin").stat().st_size == 3 * bytes_each
    assert written.digest() == again.digest()
    other = TokenShard.write(tmp_path / "other", [[1, 2, 3]], vocabulary)
    assert other.digest() != again.digest()


@given(documents_of, st.integers(8, 20))
def test_windows_hold_every_token_that_something_precedes(documents: list[list[int]], length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shard = _in_memory(documents, patch)
        windows = Windows(shard, length)
    starts = {0, *np.cumsum([len(document) for document in documents]).tolist()}
    ids = [token for document in documents for token in document]
    expected = []
    for begin in range(0, len(ids), length):
        cuts = sorted({begin, *(s for s in starts if begin < s < begin + length), min(begin + length, len(ids))})
        pieces = [ids[a:b] for a, b in pairwise(cuts) if b - a > 1]
        expected += [pieces] if pieces else []
    assert [[segment.ids.tolist() for segment in window] for window in windows] == expected
    assert len(windows) == len(expected)
    for window in windows:
        assert all(s.weights.tolist() == [0, *[1] * (len(s.ids) - 1)] for s in window)


def _in_memory(documents: list[list[int]], patch: pytest.MonkeyPatch) -> TokenShard:
    shard = object.__new__(TokenShard)
    shard.ids = np.array([token for document in documents for token in document], np.uint16)
    shard.ends = np.cumsum([len(document) for document in documents])
    return shard


def test_a_window_with_nothing_to_predict_is_left_out(tmp_path: Path) -> None:
    """The last window of 17 tokens in windows of 8 is one token; a batch of it alone would have no loss."""
    shard = TokenShard.write(tmp_path, [list(range(17))], 100)
    assert [window[0].ids.tolist() for window in Windows(shard, 8)] == [list(range(8)), list(range(8, 16))]
    assert len(Windows(shard, 8)[:1]) == 1
    with pytest.raises(IndexError):
        Windows(shard, 8)[2]


@given(documents_of, st.integers(8, 20))
def test_by_document_predicts_every_token_but_the_first_once(documents: list[list[int]], length: int) -> None:
    examples = by_document(documents, length)
    assert len(examples) == len(documents)
    for document, example in zip(documents, examples, strict=True):
        assert all(2 <= len(segment.ids) <= length for segment in example)
        assert [token for segment in example for token in segment.ids[1:].tolist()] == document[1:]
        assert all(segment.weights.all() for segment in example)
