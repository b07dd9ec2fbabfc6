"""Ten customization jobs while server, controller, runners and trainers are killed: all end as if nobody had."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionError as NobodyAnswers
from botocore.exceptions import HTTPClientError

from outcrop.core import settings
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.service.administration import create_keys
from tests.support.bedrock import customization, write_lines
from tests.support.counting import CUSTOMIZE_STEPS, weights_of
from tests.support.killing import Kept, Killer, check_history
from tests.support.queues import PostgresServer
from tests.support.serving import serve_words

JOBS = 10


@pytest.fixture
def port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        number: int = chosen.getsockname()[1]
    return number


@pytest.fixture
def client(database: str, port: int, outcrop_home: Path) -> Any:
    """Of a server on that port, whenever it runs."""
    keys = create_keys("default")
    bucket = outcrop_home / "buckets" / keys["account"] / "data"
    bucket.mkdir(parents=True)
    write_lines(bucket / "train.jsonl", [{"prompt": "a", "completion": "b"}])
    return boto3.client(
        "bedrock", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


@pytest.fixture
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        monkeypatch.setenv("OUTCROP_DATABASE", postgres.url("recovery"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return settings.database()


def insist(ask: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """Ask until the server lives long enough to answer."""
    while True:
        try:
            return ask(**arguments)
        except (NobodyAnswers, HTTPClientError):
            time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def submit(client: Any) -> None:
    """All jobs; the last two hold until the last kill, so that on no machine all are done before it."""
    for number in range(JOBS):
        output = {"s3Uri": f"s3://data/{'held' if number >= JOBS - 2 else 'free'}/"}
        request = customization(f"job-{number}", clientRequestToken=f"token-{number}", outputDataConfig=output)
        insist(client.create_model_customization_job, **request)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("database", "kills"), [("sqlite", 30), ("postgresql", 6)], indirect=["database"])
def test_ten_jobs_of_the_service_survive_kills(
    database: str, kills: int, port: int, client: Any, outcrop_home: Path
) -> None:
    runner = RunnerSpec(lease_s=5, trainer="tests.support.counting")
    spec = ControllerSpec(database=database, poll_s=0.2, cpu_slots=3, gpu_slots=0, runner=runner)
    log = (outcrop_home / "server.log").open("ab")

    def serve() -> subprocess.Popen[bytes]:
        return subprocess.Popen(serve_words("--port", str(port)), env=os.environ, stdout=log, stderr=log)

    with log, Killer(spec, JOBS, {"server": Kept(serve, lambda: _listens(port))}) as killer:
        submitting = threading.Thread(target=submit, args=(client,))
        submitting.start()
        killer.run(kills, pause_s=0.2, release=outcrop_home / "release")
        submitting.join()
        assert killer.killed.total() == kills, killer.killed
        _check_jobs(killer)
        jobs = insist(client.list_model_customization_jobs)["modelCustomizationJobSummaries"]
        while any(job["status"] == "InProgress" for job in jobs):
            time.sleep(0.1)
            jobs = insist(client.list_model_customization_jobs)["modelCustomizationJobSummaries"]
        assert {job["jobName"]: job["status"] for job in jobs} == {f"job-{n}": "Completed" for n in range(JOBS)}
        models = insist(client.list_custom_models)["modelSummaries"]
        assert len(models) == len(jobs) == JOBS
        assert {model["modelArn"] for model in models} == {job["customModelArn"] for job in jobs}
        assert {model["modelStatus"] for model in models} == {"Active"}


def _check_jobs(killer: Killer) -> None:
    """Each of the queue's jobs once, with the weights of an undisturbed run and no event lost or doubled."""
    jobs = killer.queue.newest()
    assert len(jobs) == len({job.target for job in jobs}) == JOBS
    for job in jobs:
        assert job.state == "succeeded", job
        assert (job.result or {})["weights"] == weights_of(CUSTOMIZE_STEPS)
        check_history(Path(f"{job.target}.history"), CUSTOMIZE_STEPS)
        numbers = [event.number for event in killer.queue.events(job.id)]
        assert numbers == list(range(1, job.event_count + 1))
