"""The page on the service, executed: every block of every client, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.package import ROOT
from tests.support.bedrock import World
from tests.support.servers import TestServer

pytestmark = pytest.mark.contract

PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")


def _block(section: str, language: str) -> str:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def _environment(server: TestServer, folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME", "PYENV_ROOT") if name in os.environ}
    return {
        **kept, "AWS_ENDPOINT_URL_BEDROCK": server.url, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.url,
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": server.keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.keys.secret_access_key, "OUTCROP_BEARER": server.keys.bearer,
        "AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def _run(server: TestServer, folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, check=False, env=_environment(server, folder), cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_boto3_as_the_page_says(world: World, tmp_path: Path) -> None:
    assert _run(world.server, tmp_path, sys.executable, "-c", _block("boto3", "python")) == "InProgress\n"
    world.client.stop_model_customization_job(jobIdentifier="intents")


def test_the_aws_cli_as_the_page_says(world: World, tmp_path: Path) -> None:
    if not shutil.which("aws"):
        pytest.skip("the AWS CLI is not installed: pip install awscli")
    said = _run(world.server, tmp_path, "bash", "-ec", _block("AWS CLI", "bash"))
    assert "outcrop.gravel-v1:0" in said
    assert "first-model" in said


def test_curl_as_the_page_says(world: World, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    said = _run(world.server, tmp_path, "bash", "-ec", _block("curl", "bash"))
    assert "outcrop.gravel-v1:0" in said
    assert "first-model" in said
