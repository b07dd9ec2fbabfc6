"""Provisioned throughput by unmodified boto3: measured when made, moved by an update, given back by a delete."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from outcrop.service.app import App
from outcrop.service.bedrock import arns
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.inference.gate import Gate
from outcrop.service.inference.reservations import Reservations
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service
from outcrop.store.resources import Resource
from tests.service.test_security import bearer, send
from tests.support.runtime import TINY, add_model
from tests.support.servers import TestServer, running, settled

pytestmark = pytest.mark.contract

HI = [{"role": "user", "content": [{"text": "my card has not arrived"}]}]
SHORT = {"maxTokens": 2, "temperature": 0}


@pytest.fixture
def control(tiny: TestServer) -> Iterator[Any]:
    client = tiny.client()
    yield client
    for each in client.list_provisioned_model_throughputs()["provisionedModelSummaries"]:
        client.delete_provisioned_model_throughput(provisionedModelId=each["provisionedModelArn"])


@pytest.fixture(scope="session")
def copies(tiny: TestServer, base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two custom models, each with a folder, and so an engine, of its own."""
    folder = tmp_path_factory.mktemp("copies") / "model"
    shutil.copytree(base, folder)
    return add_model(tiny, "copy-1", str(folder), {}), add_model(tiny, "copy-2", str(folder), {})


def _create(client: Any, name: str, units: int, model: str = TINY) -> str:
    made = client.create_provisioned_model_throughput(provisionedModelName=name, modelId=model, modelUnits=units)
    arn: str = made["provisionedModelArn"]
    return arn


def _gates(server: TestServer, arn: str) -> list[Gate]:
    """Those where places are reserved under an ARN."""
    return [each.gate for each in Runtime.of(server.service).pool.engines if arn in each.gate.lanes]


def test_a_rate_is_measured_kept_and_shown(
    tiny: TestServer, control: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "outcrop.service"):
        arn = _create(control, "measured", 2)
        found = settled(control, "measured")
    assert found["status"] == "InService", found
    [gate] = _gates(tiny, arn)
    assert gate.lanes[arn].width == 4
    row = tiny.service.resources.find(tiny.keys.project, [arns.PROVISIONED.name], arn=arn)
    assert row is not None
    rate = row.body["rate"]
    assert min(rate["input_tokens_per_minute"], rate["output_tokens_per_minute"]) > 0
    told = [record.fields for record in caplog.records if record.getMessage() == "provisioned throughput"]  # type: ignore[attr-defined]
    assert [{name: each[name] for name in ("arn", *rate)} for each in told] == [{"arn": arn, **rate}]
    metrics = send(tiny, "GET", "/metrics", bearer(tiny))[2].decode()
    shown = f'outcrop_provisioned_tokens_per_minute{{id="{row.id}",tokens="input"}} '
    line = next(line for line in metrics.splitlines() if line.startswith(shown))
    assert float(line.removeprefix(shown)) == pytest.approx(rate["input_tokens_per_minute"])


def test_a_delete_gives_places_back_and_closes_the_arn(tiny: TestServer, control: Any, runtime: Any) -> None:
    arn = _create(control, "whole", 4)
    assert settled(control, "whole")["status"] == "InService"
    runtime.converse(modelId=arn, messages=HI, inferenceConfig=SHORT)
    with pytest.raises(runtime.exceptions.ThrottlingException, match="reserved"):
        runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    control.delete_provisioned_model_throughput(provisionedModelId=arn)
    assert _gates(tiny, arn) == []
    runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    with pytest.raises(runtime.exceptions.ResourceNotFoundException):
        runtime.converse(modelId=arn, messages=HI, inferenceConfig=SHORT)
    again = _create(control, "again", 4)
    assert settled(control, "again")["status"] == "InService"
    assert len(_gates(tiny, again)) == 1


def test_a_request_that_a_delete_overtakes_holds_nothing(
    tiny: TestServer, control: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = _create(control, "overtaken", 1)
    settled(control, "overtaken")
    provisioning, hold = Runtime.of(tiny.service).provisioning, Reservations.hold

    async def late(self: Reservations, name: str, model: str, units: int) -> None:
        provisioning.end(arn)
        await hold(self, name, model, units)

    monkeypatch.setattr(Reservations, "hold", late)
    for _ in range(2):
        with pytest.raises(runtime.exceptions.ResourceNotFoundException):
            runtime.converse(modelId=arn, messages=HI, inferenceConfig=SHORT)
    assert _gates(tiny, arn) == []


def test_more_than_there_is_fails_with_the_reason(
    tiny: TestServer, control: Any, runtime: Any, copies: tuple[str, str]
) -> None:
    first = _create(control, "most", 3, copies[0])
    settled(control, "most")
    arn = _create(control, "too-much", 2, copies[0])
    found = settled(control, "too-much")
    assert found["status"] == "Failed"
    assert "2 of 8 are not reserved" in found["failureMessage"]
    assert (_gates(tiny, arn), len(_gates(tiny, first))) == ([], 1)
    with pytest.raises(runtime.exceptions.ValidationException, match="failed"):
        runtime.converse(modelId=arn, messages=HI, inferenceConfig=SHORT)
    with pytest.raises(control.exceptions.ValidationException, match="Failed"):
        control.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=copies[1])


def test_an_update_moves_places_to_the_other_model(
    tiny: TestServer, control: Any, runtime: Any, copies: tuple[str, str]
) -> None:
    arn = _create(control, "moving", 4, copies[0])
    assert settled(control, "moving")["modelArn"] == copies[0]
    [before] = _gates(tiny, arn)
    control.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=copies[1])
    found = settled(control, "moving")
    assert (found["status"], found["modelArn"], found["desiredModelArn"]) == ("InService", copies[1], copies[1])
    [after] = _gates(tiny, arn)
    assert after is not before
    assert before.free == 8
    runtime.converse(modelId=arn, messages=HI, inferenceConfig=SHORT)
    assert _gates(tiny, arn) == [after]


def test_an_update_that_cannot_be_leaves_what_was(tiny: TestServer, control: Any, copies: tuple[str, str]) -> None:
    arn, full = _create(control, "staying", 1, copies[0]), _create(control, "full", 4, copies[1])
    assert [settled(control, name)["status"] for name in ("staying", "full")] == ["InService", "InService"]
    [gate] = _gates(tiny, arn)
    control.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=copies[1])
    found = settled(control, "staying")
    assert (found["status"], found["modelArn"], found["desiredModelArn"]) == ("InService", copies[0], copies[0])
    assert "0 of 8 are not reserved" in found["failureMessage"]
    assert _gates(tiny, arn) == [gate]
    assert len(_gates(tiny, full)) == 1


def test_what_a_server_left_unfinished_the_next_one_finishes(base: str, outcrop_home: Path) -> None:
    spec = ServeSpec(start_controller=False, models=(f"{TINY}={base}",))
    with running(spec) as server:
        project, client = server.keys.project, server.client()
        arn = _create(client, "left", 1)
        settled(client, "left")

    async def live() -> Resource | None:
        service, incoming = Service(spec), asyncio.Queue[Message]()
        find = partial(service.resources.find, project, [arns.PROVISIONED.name], arn=arn)
        row = find()
        assert row is not None
        body = {"modelUnits": 1, "foundationModelArn": row.model}
        service.resources.change(row, {"status": "Creating", "body": body})

        async def send_nothing(message: Message) -> None:
            assert message["type"].endswith("complete")

        life = asyncio.create_task(App(service)({"type": "lifespan"}, incoming.get, send_nothing))
        incoming.put_nowait({"type": "lifespan.startup"})
        while row is not None and row.status == "Creating":
            await asyncio.sleep(0.02)
            row = find()
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await life
        return row

    row = asyncio.run(live())
    assert row is not None
    assert (row.status, row.body["rate"]["output_tokens_per_minute"] > 0) == ("InService", True)
