"""One server for all tests of the service that do not change how it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outcrop.service.spec import ServeSpec
from tests.support.runtime import runtime, tiny
from tests.support.servers import TestServer, running

__all__ = ["runtime", "server", "tiny"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("server-home")))
        with running(ServeSpec(start_controller=False)) as started:
            yield started
