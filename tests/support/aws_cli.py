"""The AWS CLI, where it is installed, and the environment that leads it to a server of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

CLI = os.environ.get("OUTCROP_AWS_CLI") or shutil.which("aws")


def need_cli() -> None:
    """Skip the test where there is no AWS CLI."""
    if not CLI:
        pytest.skip("the AWS CLI is not installed: pip install awscli, or name it by OUTCROP_AWS_CLI")


def client_environment(folder: Path, url: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Variables for clients of the server at a URL; no files of the user's, and `aws` on the path.

    keys: access_key_id and secret_access_key.
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "HOME", "PYENV_ROOT") if name in os.environ}
    first = f"{Path(CLI).parent}{os.pathsep}" if CLI else ""
    return {
        **kept, "PATH": f"{first}{os.environ['PATH']}", "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": keys["access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
        "AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def shell(script: str, folder: Path, environment: Mapping[str, str], timeout_s: float = 100) -> str:
    """What a script prints that must succeed."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
