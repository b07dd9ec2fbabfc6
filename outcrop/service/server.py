"""`serve`: the server from its first start, which makes keys, to its last request."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn

from outcrop.core import settings
from outcrop.core.errors import UsageError
from outcrop.service import log
from outcrop.service.app import App
from outcrop.service.keys import NewKeys
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service
from outcrop.service.tls import Certificate, loopback_certificate

DEFAULT_PROJECT = "default"
BEDROCK, IDENTITY = ("BEDROCK", "BEDROCK_RUNTIME"), ("STS", "IAM")
KEEP_ALIVE_S = 75
MOST_CONNECTIONS = 1024


@dataclass(frozen=True)
class Started:
    """A server that listens. authority: the file that clients must trust, empty without our own certificate;
    keys: made at the first start and shown now only; projects: name → account; services: of AWS, as SDKs name them in
    variables."""

    url: str
    region: str
    authority: str
    keys: dict[str, str] | None
    projects: dict[str, str]
    operations: int
    services: tuple[str, ...] = BEDROCK

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def serve(spec: ServeSpec, announce: Callable[[Started], None]) -> None:
    """Listen and answer until SIGTERM or Ctrl-C; `announce` is called once, when the port is open.

    Raises UsageError for an address beyond this machine without TLS, a port that is taken, a place that
    cannot be allowed, and a wrong catalog.
    """
    _check(spec)
    certificate = _certificate(spec)
    listener = _listener(spec)
    try:
        service = Service(spec)
        keys = first_keys(service)
        application = App(service)
        announce(_started(service, listener, certificate, keys, len(application.routes.all)))
        log.set_up()
        config = uvicorn.Config(
            application, log_config=None, access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(spec.drain_s), limit_concurrency=MOST_CONNECTIONS, lifespan="on",
            ssl_certfile=certificate.certificate if certificate else None,
            ssl_keyfile=certificate.key if certificate else None,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()


def first_keys(service: Service) -> NewKeys | None:
    """The keys of the first project, made if there is no project yet; None where there is one."""
    if service.projects.all():
        return None
    return service.keys.create(service.keys.create_project(DEFAULT_PROJECT))


def _check(spec: ServeSpec) -> None:
    if bool(spec.certificate) != bool(spec.private_key):
        raise UsageError("A certificate needs its key.", "Give both --certificate and --private-key.")
    if not _is_loopback(spec.host) and not (spec.tls or spec.certificate):
        raise UsageError(
            f"{spec.host} can be reached from other machines, and keys would travel unencrypted.",
            "Add --tls, or --certificate and --private-key, or listen on 127.0.0.1.",
        )
    for location in spec.allowed_locations:
        if "://" in location and not location.startswith("s3://"):
            raise UsageError(f"--allow {location} names no place.", "Give a folder, such as /data, or s3://BUCKET/PREFIX.")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _certificate(spec: ServeSpec) -> Certificate | None:
    if spec.certificate:
        files = Certificate(Path(), Path(spec.certificate), Path(spec.private_key))
        for file in files[1:]:
            if not file.is_file():
                raise UsageError(f"There is no file {file}.", "Give PEM files.")
        return files
    return loopback_certificate(settings.home() / "service" / "tls", spec.allowed_hosts) if spec.tls else None


def _listener(spec: ServeSpec) -> socket.socket:
    family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((spec.host, spec.port))
        listener.listen(MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Nothing can listen on {spec.host}:{spec.port}: {error.strerror or error}.",
            "Give another --port or --host.",
        ) from None
    return listener


def _started(
    service: Service, listener: socket.socket, certificate: Certificate | None, keys: NewKeys | None, operations: int
) -> Started:
    host, port = listener.getsockname()[:2]
    shown = "localhost" if certificate and _is_loopback(host) else f"[{host}]" if ":" in host else host
    url = f"{'https' if certificate else 'http'}://{shown}:{port}"
    is_ours = certificate is not None and not service.spec.certificate
    shown_keys = None
    if keys is not None:
        shown_keys = {
            "access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key, "bearer": keys.bearer
        }  # fmt: skip
    projects = {project.name: project.account for project in service.projects.all()}
    authority = str(certificate.authority) if is_ours and certificate else ""
    services = (*BEDROCK, *IDENTITY) if service.spec.identity else BEDROCK
    return Started(url, service.spec.region, authority, shown_keys, projects, operations, services)
