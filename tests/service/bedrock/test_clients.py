"""The page on the service, executed: every block of every client, as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.package import ROOT
from tests.support.aws_cli import client_environment, need_cli, shell
from tests.support.bedrock import PEBBLE, World
from tests.support.servers import TestServer

pytestmark = pytest.mark.contract

PAGE, RUNTIME_PAGE = ((ROOT / "docs" / name).read_text("utf-8") for name in ("service.md", "runtime.md"))


def _block(section: str, language: str) -> str:
    return _blocks(PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0], language)


def _blocks(text: str, language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def _python(server: TestServer, folder: Path, code: str) -> str:
    command = [sys.executable, "-c", code]
    environment = _environment(server, folder)
    return subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=100).stdout


def _environment(server: TestServer, folder: Path) -> dict[str, str]:
    keys = {"access_key_id": server.keys.access_key_id, "secret_access_key": server.keys.secret_access_key}
    return {**client_environment(folder, server.url, keys), "OUTCROP_BEARER": server.keys.bearer}


def test_boto3_as_the_page_says(world: World, tmp_path: Path) -> None:
    assert _python(world.server, tmp_path, _block("boto3", "python")) == "InProgress\n"
    world.client.stop_model_customization_job(jobIdentifier="intents")


def test_models_are_asked_as_the_page_says(world: World, tmp_path: Path) -> None:
    code = _blocks(RUNTIME_PAGE, "python")
    assert "converse(" in code
    assert _python(world.server, tmp_path, code).strip()


def test_the_aws_cli_as_the_page_says(world: World, tmp_path: Path) -> None:
    need_cli()
    said = shell(_block("AWS CLI", "bash"), tmp_path, _environment(world.server, tmp_path))
    assert PEBBLE in said
    assert "first-model" in said


def test_curl_as_the_page_says(world: World, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    said = shell(_block("curl", "bash"), tmp_path, _environment(world.server, tmp_path))
    assert PEBBLE in said
    assert "first-model" in said
