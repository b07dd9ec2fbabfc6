"""Values that follow from the base model and the device."""

from __future__ import annotations

import pytest

from outcrop.workflows.resolving import fitting_tokens


@pytest.mark.parametrize(
    ("free_gb", "width", "layers", "tokens"),
    [(80, 384, 8, 65_536), (80, 2048, 24, 4096), (80, 4096, 32, 4096), (24, 384, 8, 16_384), (0, 384, 8, 4096)],
)
def test_tokens_computed_at_once_follow_from_free_memory(free_gb: int, width: int, layers: int, tokens: int) -> None:
    assert fitting_tokens(free_gb * 10**9, width, layers, least=4096) == tokens
