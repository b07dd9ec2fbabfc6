"""A server whose models are tiny, and the names that lead to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.ids import new_id
from outcrop.models.folder import write_card
from outcrop.service.bedrock import arns
from outcrop.service.bedrock.runtime.state import PART, Runtime
from outcrop.service.inference.pool import Pool, PoolLimits
from outcrop.service.spec import ServeSpec
from tests.support.servers import TestServer, running

TINY, LLAMA = "outcrop.tiny-v1:0", "meta.tiny-v1:0"
PATIENT = PoolLimits(memory_bytes=2**31, slots=8, patience_s=110)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, base: str) -> Iterator[TestServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("runtime-home")))
        spec = ServeSpec(start_controller=False, models=(f"{TINY}={base}", f"{LLAMA}={base}"))
        with running(spec) as server:
            server.service.parts[PART] = runtime = Runtime(server.service, Pool(PATIENT))
            server.service.closing.push_async_callback(runtime.close)
            yield server


@pytest.fixture
def runtime(tiny: TestServer) -> Any:
    return tiny.client("bedrock-runtime")


def add_model(server: TestServer, name: str, source: str, card: dict[str, Any], foundation: str = TINY) -> str:
    """A custom model of the first project; returns its ARN."""
    project, made = server.service.projects.all()[0], new_id()
    folder = server.service.model_folder / made
    shutil.copytree(source, folder)
    write_card(Path(folder), card)
    arn = arns.arn(server.service.spec.region, project, arns.CUSTOM_MODEL, made, foundation)
    values = {"id": made, "kind": arns.CUSTOM_MODEL.name, "name": name, "arn": arn, "status": "Active"}
    server.service.resources.add(project, [{**values, "model": None, "body": {"foundation": foundation}}])
    return arn
