"""A server in a thread of the tests, and unmodified boto3 clients for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from botocore.config import Config

from outcrop.core.errors import OutcropError
from outcrop.core.events import ignore
from outcrop.jobs.policies import Reason
from outcrop.service.app import App
from outcrop.service.keys import NewKeys
from outcrop.service.server import first_keys
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service
from outcrop.workflows.job import failure, perform

REGION = "us-east-1"


@dataclass
class TestServer:
    """A server that listens on a loopback port, and the keys of its first project."""

    __test__ = False

    url: str
    service: Service
    app: App
    keys: NewKeys

    def client(self, name: str = "bedrock", keys: NewKeys | None = None, **options: Any) -> Any:
        """A boto3 client with the keys of a project, by default of the first one; it tries once."""
        keys = keys or self.keys
        return boto3.client(
            name,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            **{"config": Config(retries={"total_max_attempts": 1}), **options},
        )

    def bucket(self, name: str, keys: NewKeys | None = None) -> Path:
        """The folder of a bucket of a project, made."""
        folder = Path(self.service.places((keys or self.keys).project).buckets) / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def work(self) -> None:
        """Do the queued jobs of all projects, one after the other, in this process."""
        for device in ("cpu", "gpu"):
            for job in self.service.queue.waiting(device):
                lease = self.service.queue.claim(job.id, {"pid": 0}, 3600)
                assert lease is not None, "nobody else works here"
                try:
                    result = perform(job.verb, job.arguments, job.id, ignore)
                except OutcropError as error:
                    report = failure(error)
                    lease.fail(Reason(report["reason"]), report["error"])
                else:
                    lease.succeed(result if isinstance(result, dict) else result.as_dict())
        self.service.progress.settle()

    def another_project(self, name: str) -> NewKeys:
        """Keys of a new project."""
        return self.service.keys.create(self.service.keys.create_project(name))


def settled(client: Any, name: str) -> dict[str, Any]:
    """Provisioned throughput when it is neither Creating nor Updating."""
    while True:
        found: dict[str, Any] = client.get_provisioned_model_throughput(provisionedModelId=name)
        if found["status"] not in ("Creating", "Updating"):
            return found
        time.sleep(0.02)


@contextmanager
def running(spec: ServeSpec) -> Iterator[TestServer]:
    """A server of this specification until the block ends. Its OUTCROP_HOME is the one of now."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    service = Service(spec)
    keys = first_keys(service)
    assert keys is not None, "a new home has no keys"
    app = App(service)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield TestServer(f"http://127.0.0.1:{listener.getsockname()[1]}", service, app, keys)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
