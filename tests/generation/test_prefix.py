"""The prefix cache: what it returns is what was put in, and never more than its budget."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from outcrop.generation.prefix import LEAST_SHARED, PrefixCache, common_prefix
from outcrop.generation.slots import CacheShape, Slots

SHAPE = CacheShape(2, 1, 1, torch.float32, torch.device("cpu"))
TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=60).map(tuple)


def _fill(slots: Slots, tokens: tuple[int, ...], mark: float) -> None:
    """Keys and values that tell a token, its place and an adapter."""
    slots.reserve(1, len(tokens))
    for layer in range(2):
        marks = torch.tensor([mark + at + token / 2 for at, token in enumerate(tokens)])[:, None, None]
        slots.write_run(layer, 0, 0, marks, -marks)


@given(st.lists(st.tuples(st.sampled_from(["a", None]), TEXTS), max_size=12), st.integers(0, 120))
def test_what_is_restored_is_what_was_computed(entries: list[tuple[str | None, tuple[int, ...]]], budget: int) -> None:
    cache, slots = PrefixCache(budget), Slots(SHAPE, 1)
    for adapter, tokens in entries:
        slots.reserve(1, 1)
        mark = 1000.0 if adapter else 0.0
        length = cache.restore(adapter, tokens, slots, 0)
        assert length == 0 or LEAST_SHARED <= length < len(tokens)
        expected = torch.tensor([mark + at + token / 2 for at, token in enumerate(tokens[:length])])
        assert torch.equal(slots.keys[1][0, 0, 0, :length], expected)
        assert torch.equal(slots.values[0][0, 0, :length, 0], -expected)
        _fill(slots, tokens, mark)
        cache.insert(adapter, tokens, slots, 0)
        assert cache.tokens <= budget
        if LEAST_SHARED <= len(tokens) <= budget:
            assert cache.known(adapter, (*tokens, 9)) == len(tokens)
    for adapter in ("a", None):
        cache.forget(adapter)
    assert cache.tokens == 0


def test_the_least_recently_used_is_dropped() -> None:
    cache, slots = PrefixCache(64), Slots(SHAPE, 1)
    one, two, three = ((token,) * 32 for token in (1, 2, 3))
    for tokens in (one, two):
        _fill(slots, tokens, 0)
        cache.insert(None, tokens, slots, 0)
    cache.restore(None, (*one, 9), slots, 0)
    _fill(slots, three, 0)
    cache.insert(None, three, slots, 0)
    assert [cache.known(None, (*tokens, 9)) for tokens in (one, two, three)] == [32, 0, 32]


@given(TEXTS, TEXTS)
def test_common_prefix_counts_equal_tokens(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    expected = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    assert common_prefix(one, other) == expected
