"""Packed and unpacked a teaching is what it was, to half precision, in few bytes."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.core.errors import DataError
from outcrop.training.distillation.packing import HEADER, WITH_STATES, pack, unpack
from outcrop.training.layout import Teaching


def teaching(vocabulary: int) -> Teaching:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(6, 0.3), 9).astype(np.float32)
    probabilities[3, 1:], probabilities[5, :] = 0, 0
    ids = np.stack([generator.permutation(vocabulary)[:6] for _ in range(9)]).astype(np.int32)
    whole = probabilities.sum(-1, keepdims=True) + 0.1
    return Teaching(ids, (probabilities / whole).astype(np.float32), (0.1 / whole[:, 0]).astype(np.float32))


@pytest.mark.parametrize(("vocabulary", "width"), [(300, 2), (200_000, 4)])
def test_round_trip(vocabulary: int, width: int) -> None:
    given = teaching(vocabulary)
    found = unpack(pack(given))
    kept = given.probabilities > 0
    np.testing.assert_allclose(found.probabilities[:, : kept.shape[1]].sum(-1) + found.rest, 1, atol=1e-6)
    np.testing.assert_allclose(found.rest, given.rest, rtol=5e-3)
    for row in range(len(kept)):
        count = int(kept[row].sum())
        np.testing.assert_array_equal(found.ids[row, :count], given.ids[row][kept[row]])
        np.testing.assert_allclose(found.probabilities[row, :count], given.probabilities[row][kept[row]], rtol=5e-3)
        assert not found.probabilities[row, count:].any()
    assert len(pack(given)) == 6 + 9 * 4 + int(kept.sum()) * (width + 2)


def test_states_come_back_as_they_are() -> None:
    states = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float16)
    found = unpack(pack(teaching(300)._replace(states=states)))
    assert found.states is not None
    np.testing.assert_array_equal(found.states, states)
    np.testing.assert_array_equal(found.rest, unpack(pack(teaching(300))).rest)
    assert unpack(pack(teaching(300))).states is None


def test_no_rest_stays_none() -> None:
    sure = Teaching(np.array([[4]], np.int32), np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    found = unpack(pack(sure))
    assert found.rest[0] == 0
    assert found.probabilities[0, 0] == 1


def test_damaged_bytes_are_refused() -> None:
    with pytest.raises(DataError, match="damaged"):
        unpack(pack(teaching(300))[:-3])
    with pytest.raises(DataError, match="damaged"):
        unpack(pack(teaching(300)) + b"1234")
    with pytest.raises(DataError, match="damaged"):
        unpack(HEADER.pack(WITH_STATES, 2, 0) + b"1234")
    with pytest.raises(DataError, match="damaged"):
        unpack(pack(teaching(300)._replace(states=np.ones((9, 5), np.float16)))[:-2])
