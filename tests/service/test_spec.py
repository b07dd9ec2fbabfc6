"""What the server may be told: wrong values are refused before anything starts."""

from __future__ import annotations

import pytest

from outcrop.core.errors import UsageError
from outcrop.service.spec import serve_spec


def test_every_wrong_value_is_named() -> None:
    with pytest.raises(UsageError) as error:
        serve_spec({"port": 70000, "engine": "sglang"})
    assert "port" in str(error.value)
    assert "engine" in str(error.value)


def test_a_vllm_that_is_not_there_is_refused_before_the_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTCROP_VLLM_PYTHON", raising=False)
    with pytest.raises(UsageError, match="none is named"):
        serve_spec({"engine": "vllm"})
