"""The AWS CLI through the whole life of a model, as docs/aws-cli.md has it, on each kind of database and of buckets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outcrop.service.bedrock.foundation import FoundationModels
from outcrop.service.spec import ServeSpec
from tests.architecture.package import ROOT
from tests.support.aws_cli import client_environment, need_cli, shell
from tests.support.ceph import MISSING, REASON, s3_of_ceph
from tests.support.queues import PostgresServer
from tests.support.serving import served

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "aws-cli.md").read_text("utf-8")


def _script(buckets: str) -> str:
    blocks = re.findall(rf"^```bash(?:-{buckets})?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


def _live(folder: Path, buckets: str, server: Mapping[str, Any], **variables: str) -> list[str]:
    """Run the page; returns the lines that it prints."""
    environment = client_environment(folder, server["url"], server["keys"]) | variables
    return shell(_script(buckets), folder, environment, timeout_s=290).splitlines()


def _check(lines: list[str]) -> None:
    """The metrics, the answer and its cost, the row of the batch, the record of the log; and the model is gone."""
    assert lines.count("step_number,epoch_number,training_loss,perplexity") == 1
    assert lines.count("step_number,epoch_number,validation_loss,perplexity") == 1
    objects = [json.loads(line) for line in lines if line.startswith('{"')]
    [row] = [each for each in objects if each.get("recordId") == "R1"]
    assert "modelOutput" in row
    [record] = [each for each in objects if each.get("schemaType") == "ModelInvocationLog"]
    assert record["modelId"].rpartition("/")[0].endswith("provisioned-model")
    printed = "\n".join(lines)
    usage = json.loads(printed[printed.index("{\n") : printed.index("\n}\n") + 2])
    assert usage["inputTokens"] == record["input"]["inputTokenCount"] > 0
    assert usage["outputTokens"] == record["output"]["outputTokenCount"] > 0
    assert lines[-1] == "0"


@pytest.fixture
def options(base: str) -> list[str]:
    """The first foundation model is a tiny one: the page takes the first."""
    need_cli()
    first = next(iter(FoundationModels.load(ServeSpec())))
    return ["--model", f"{first.model.id}={base}"]


def test_on_sqlite_and_folders(options: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home, options) as server:
        [account] = server["projects"].values()
        _check(_live(tmp_path, "folders", server, BUCKETS=str(home / "buckets" / account)))


def test_on_postgresql_and_an_s3_server(options: list[str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if MISSING:
        pytest.skip(REASON)
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with s3_of_ceph() as s3:
        own = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret, "AWS_REGION": "us-east-1"}
        where = {"OUTCROP_DATABASE": postgres.url("life"), **own}
        with served(tmp_path / "home", [*options, "--s3-endpoint", s3.url], **where) as server:
            names = {"S3_ENDPOINT": s3.url, "S3_KEY": s3.key, "S3_SECRET": s3.secret}
            _check(_live(tmp_path, "s3", server, **names))
