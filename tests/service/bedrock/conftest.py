"""One project with one of everything, for all tests of Bedrock's API."""

from __future__ import annotations

import pytest

from tests.support.bedrock import World, populated
from tests.support.servers import TestServer


@pytest.fixture(scope="session")
def world(server: TestServer) -> World:
    return populated(server)
