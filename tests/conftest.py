"""A clean, offline, single-threaded environment for every test."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before anything imports torch, which reads these once.
os.environ.update(OMP_NUM_THREADS="1", OUTCROP_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"):
    os.environ.pop(name, None)

# Examples are the same in every run, and the clock of a busy machine decides nothing.
settings.register_profile("outcrop", deadline=None, derandomize=True, database=None)
settings.load_profile("outcrop")

pytest_plugins = ["tests.support.fixtures", "tests.support.queues"]

TIERS = ("contract", "e2e", "gpu", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has no other mark as a unit test, and skip the gpu tests where there is no GPU."""
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            item.add_marker("unit")
    if gpu := [item for item in items if item.get_closest_marker("gpu")]:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """OUTCROP_HOME for fixtures wider than one test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def outcrop_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty OUTCROP_HOME of this test's own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("OUTCROP_HOME", str(home))
    return home


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        outside = self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0])
        if outside:
            raise AssertionError(f"A test tried to reach {address[0]}; tests use no network.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
