"""`outcrop serve`: Bedrock's API on this machine, and the lines that make clients use it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from outcrop.cli.console import message_console, print_json
from outcrop.cli.options import OutputOption
from outcrop.cli.workflows import load

HostOption = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Listen here; beyond this machine only with TLS.")
]
PortOption = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")]
TlsOption = Annotated[
    bool, typer.Option("--tls", help="HTTPS with a certificate of our own. SDKs send bearer keys over HTTPS only.")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", metavar="FILE", help="HTTPS with this certificate and its chain (PEM).")
]
PrivateKeyOption = Annotated[
    Path | None, typer.Option("--private-key", metavar="FILE", help="The key of --certificate (PEM).")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Another name that clients use for this server. Repeatable."),
]
RegionOption = Annotated[str, typer.Option("--region", metavar="NAME", help="The region in ARNs.")]
CatalogOption = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="Further foundation models. Default: models.toml in OUTCROP_HOME."),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="ID=FOLDER", help="A further foundation model under this id. Repeatable."),
]
EndpointOption = Annotated[
    str,
    typer.Option("--s3-endpoint", metavar="URL", help="The S3 server of s3://. Without it, buckets are folders here."),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="URI", help="A folder or s3:// prefix that jobs may read and write. Repeatable."),
]
ControllerOption = Annotated[
    bool, typer.Option("--no-controller", help="Start no controller of jobs: another process does.")
]
RedactOption = Annotated[
    bool, typer.Option("--redact-logs", help="Mask personal data and secrets in invocation logs. Needs anonymise.")
]

LookupOption = Annotated[
    bool, typer.Option("--lookup/--no-lookup", help="Take published answers (outcrop batch --publish) first.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", metavar="embedded|vllm",
        help="What answers: our engine, or a vLLM in the environment whose python OUTCROP_VLLM_PYTHON names.",
    ),
]  # fmt: skip
IdentityOption = Annotated[
    bool, typer.Option("--identity", help="Answer STS and IAM, too: who asks, and roles that are kept without effect.")
]


def serve(
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8321,
    tls: TlsOption = False,
    certificate: CertificateOption = None,
    private_key: PrivateKeyOption = None,
    allow_host: AllowHostOption = None,
    region: RegionOption = "us-east-1",
    catalog: CatalogOption = None,
    model: ModelOption = None,
    s3_endpoint: EndpointOption = "",
    allow: AllowOption = None,
    no_controller: ControllerOption = False,
    redact_logs: RedactOption = False,
    lookup: LookupOption = True,
    engine: EngineOption = "embedded",
    identity: IdentityOption = False,
    output: OutputOption = "text",
) -> None:
    """Serve Bedrock's API on this machine: unmodified boto3 and the AWS CLI train, deploy and invoke here.

    The first start makes keys and shows them once.
    """
    spec = load("serve-spec")(
        {
            "host": host, "port": port, "tls": tls, "certificate": str(certificate or ""),
            "private_key": str(private_key or ""), "allowed_hosts": tuple(allow_host or ()), "region": region,
            "catalog": str(catalog or ""), "models": tuple(model or ()), "s3_endpoint": s3_endpoint,
            "allowed_locations": tuple(allow or ()), "start_controller": not no_controller,
            "redact_logs": redact_logs, "identity": identity,
            "lookup": lookup, "engine": engine,
        }
    )  # fmt: skip
    try:
        load("serve")(spec, print_json_of if output == "json" else announce)
    except KeyboardInterrupt:
        message_console().print("The server has ended.")


def print_json_of(started: Any) -> None:
    """One JSON object on standard output."""
    print_json(started.as_dict())


def announce(started: Any) -> None:
    """The lines for a shell, for boto3 and the AWS CLI, and a request for curl."""
    project, account = next(iter(started.projects.items()))
    lines = [f"# Outcrop serves Bedrock's API at {started.url}", f"# project {project}, account {account}"]
    lines += [f"export AWS_ENDPOINT_URL_{service}={started.url}" for service in started.services]
    lines += [f"export AWS_REGION={started.region} AWS_DEFAULT_REGION={started.region}"]
    lines += [f"export AWS_CA_BUNDLE={shlex.quote(started.authority)}"] if started.authority else []
    if started.keys:
        lines += ["# These keys are shown this once; outcrop keys create makes others."]
        lines += [f"export AWS_ACCESS_KEY_ID={started.keys['access_key_id']}"]
        lines += [f"export AWS_SECRET_ACCESS_KEY={started.keys['secret_access_key']}"]
        bearer = f"export AWS_BEARER_TOKEN_BEDROCK={started.keys['bearer']}"
        lines += [bearer if started.url.startswith("https") else f"export OUTCROP_BEARER={started.keys['bearer']}"]
    else:
        lines += ["# Keys were shown at the first start; outcrop keys create makes others."]
    token = "$AWS_BEARER_TOKEN_BEDROCK" if started.url.startswith("https") else "$OUTCROP_BEARER"
    trust = f"--cacert {shlex.quote(started.authority)} " if started.authority else ""
    lines += [f'# curl {trust}-H "Authorization: Bearer {token}" {started.url}/foundation-models']
    print("\n".join(lines), flush=True)
