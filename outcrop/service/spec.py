"""How the server runs: where it listens, what it may read and write, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from outcrop.core.spec import Spec, parameter
from outcrop.generation.vllm.environment import check_vllm

MIB = 1 << 20


class ServeSpec(Spec):
    """Everything that `outcrop serve` may be told."""

    host: str = parameter("127.0.0.1", "address to listen on; beyond this machine only with TLS")
    port: int = parameter(8321, "port to listen on; 0 takes a free one", ge=0, le=65535)
    tls: bool = parameter(False, "HTTPS with a certificate of our own, for this machine; bearer keys of SDKs need it")
    certificate: str = parameter("", "PEM file of another certificate, with its chain")
    private_key: str = parameter("", "PEM file of that certificate's key")
    allowed_hosts: tuple[str, ...] = parameter((), "further names in the Host header")
    region: str = parameter("us-east-1", "the region in ARNs", pattern="^[a-z0-9-]{1,20}$")
    catalog: str = parameter("", "TOML file of further foundation models; default models.toml in OUTCROP_HOME")
    models: tuple[str, ...] = parameter((), "further foundation models, each as ID=FOLDER")
    s3_endpoint: str = parameter("", "URL of the S3 server for s3://; without it, buckets are folders")
    allowed_locations: tuple[str, ...] = parameter((), "s3:// prefixes and folders that jobs may read and write")
    start_controller: bool = parameter(True, "start the controller of jobs if none runs")
    identity: bool = parameter(False, "answer STS and IAM, too: who asks, and roles that are kept without effect")
    body_mib: int = parameter(25, "longest request body", unit="MiB", ge=1, le=1024)
    redact_logs: bool = parameter(False, "mask personal data and secrets in invocation logs")
    lookup: bool = parameter(True, "take answers that were published (outcrop batch --publish) instead of asking")
    engine: Literal["embedded", "vllm"] = parameter("embedded", "what answers: our engine, or a vLLM beside the server")
    drain_s: float = parameter(30.0, "time for open requests when the server ends", unit="seconds", ge=0)


def serve_spec(values: Mapping[str, Any]) -> ServeSpec:
    """The specification of these values. Raises UsageError naming every wrong one, or for a vLLM that is not there."""
    spec = ServeSpec.parse(values)
    if spec.engine == "vllm":
        check_vllm()
    return spec
