"""The configuration of invocation logging: whether, and where to. Off until somebody sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import from_thread

from outcrop.service.bedrock.control.sources import check_writable
from outcrop.service.bedrock.errors import invalid
from outcrop.service.bedrock.runtime.invocation_log import SETTING
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call


def put(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """PutModelInvocationLoggingConfiguration. Logs go to S3; there is no CloudWatch on this machine."""
    config = given["loggingConfig"]
    if "cloudWatchConfig" in config:
        raise invalid("There is no CloudWatch on this server. Give s3Config instead of cloudWatchConfig.")
    if "s3Config" not in config:
        raise invalid("loggingConfig must hold an s3Config.")
    target = config["s3Config"]
    uri = f"s3://{target['bucketName']}/{target.get('keyPrefix', '').strip('/')}".rstrip("/")
    check_writable(call, uri, "loggingConfig.s3Config")
    _write_pending(call)
    call.service.projects.set_setting(call.project, SETTING, config)
    return {}


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelInvocationLoggingConfiguration."""
    return {"loggingConfig": call.service.projects.setting(call.project, SETTING)}


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteModelInvocationLoggingConfiguration."""
    _write_pending(call)
    call.service.projects.set_setting(call.project, SETTING, None)
    return {}


def _write_pending(call: Call) -> None:
    """What was asked until now is logged as was configured then."""
    from_thread.run(Runtime.of(call.service).log.flush)
