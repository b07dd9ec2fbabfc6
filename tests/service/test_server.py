"""The server as a process: first start, HTTPS, the lines that it prints, its end."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from outcrop.cli.serve import announce
from outcrop.service.server import Started
from tests.support.serving import start_server, told_by

pytestmark = pytest.mark.e2e



@pytest.fixture
def process(outcrop_home: Path) -> Iterator[subprocess.Popen[str]]:
    started = start_server(["--port", "0", "--tls"])
    yield started
    started.kill()
    started.communicate()


def test_bearer_keys_over_https_and_a_quiet_end(
    process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = told_by(process)
    assert told["url"].startswith("https://localhost:")
    context = ssl.create_default_context(cafile=told["authority"])
    with urllib.request.urlopen(f"{told['url']}/ready", context=context) as answer:
        assert json.load(answer) == {"status": "ready"}
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", told["keys"]["bearer"])
    client = boto3.client(
        "bedrock", endpoint_url=told["url"], region_name="us-east-1", verify=told["authority"],
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    assert client.list_foundation_models()["modelSummaries"]
    client.close()
    process.send_signal(signal.SIGTERM)
    rest, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert told["keys"]["bearer"] not in rest + log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert "ListFoundationModels" in [line.get("operation") for line in lines]
    assert Path(told["authority"]).stat().st_mode & 0o022 == 0


def test_what_is_printed_can_be_read_by_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"access_key_id": "A", "secret_access_key": "S", "bearer": "B"}
    announce(Started("https://localhost:1", "us-east-1", "/a b/ca.pem", keys, {"default": "123456789012"}, 3))
    printed = capsys.readouterr().out
    wanted = "echo $AWS_ENDPOINT_URL_BEDROCK $AWS_CA_BUNDLE $AWS_SECRET_ACCESS_KEY $AWS_BEARER_TOKEN_BEDROCK"
    done = subprocess.run(["bash", "-ec", f"{printed}\n{wanted}"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "https://localhost:1 /a b/ca.pem S B"
    announce(Started("http://127.0.0.1:1", "us-east-1", "", None, {"default": "123456789012"}, 3))
    assert not re.search(r"KEY_ID|BEARER_TOKEN|CA_BUNDLE", capsys.readouterr().out)
