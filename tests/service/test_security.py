"""The checklist of what other servers got wrong: each a test."""

from __future__ import annotations

import http.client
import json
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from outcrop.core.errors import UsageError
from outcrop.service.log import HIDDEN, redacted
from outcrop.service.openai.routes import PREFIXES as OPENAI
from outcrop.service.routes import LABEL
from outcrop.service.server import serve
from outcrop.service.signature import REPEAT_S
from outcrop.service.spec import ServeSpec, serve_spec
from tests.support.servers import TestServer


def send(
    server: TestServer, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, str, Any]:
    """A request as it is: status, code of the exception, body."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.getheader("x-amzn-errortype", ""), content


def bearer(server: TestServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.keys.bearer}"}


def test_every_route_but_health_needs_a_key(server: TestServer) -> None:
    answered = set()
    for route in server.app.routes.all:
        path = LABEL.sub("abcdefghijkl", route.path)
        status, code, _ = send(server, route.method, path)
        if route.open:
            answered.add(route.name)
            assert status == 200, route
        else:
            is_openai = route.path.startswith(OPENAI)
            assert (status, code) == ((401, "") if is_openai else (403, "MissingAuthenticationTokenException")), route
    assert answered == {"Health", "Ready"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
def test_what_is_no_route_says_nothing_without_a_key(server: TestServer, method: str) -> None:
    assert send(server, method, "/docs")[0] == 403
    assert send(server, method, "/../../etc/passwd")[0] == 403
    assert send(server, method, "/docs", bearer(server))[0] == 404


@pytest.mark.parametrize(
    "header",
    [
        "Bearer ", "Bearer x", "Bearer outcrop-", "Bearer outcrop-abcdefghijkl.x", "bearer é", "Basic YTpi",
        "AWS4-HMAC-SHA256 Credential=OUTCX/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, "
        "Signature=" + "0" * 64,
    ],
)  # fmt: skip
def test_wrong_keys_are_refused(server: TestServer, header: str) -> None:
    status, code, _ = send(server, "GET", "/foundation-models", {"Authorization": header.encode().decode("latin-1")})
    assert status in (400, 403)
    assert code in ("AccessDeniedException", "IncompleteSignatureException", "UnrecognizedClientException")


def test_a_bearer_key_s_every_part_counts(server: TestServer) -> None:
    assert send(server, "GET", "/foundation-models", bearer(server))[0] == 200
    key = server.keys.bearer
    for wrong in (key[:-1], key + "x", key.upper(), key.replace("outcrop-", "outcrop"), key.partition(".")[0] + "."):
        assert send(server, "GET", "/foundation-models", {"Authorization": f"Bearer {wrong}"})[0] == 403, wrong


def test_wrong_secret_is_an_exception_of_aws(server: TestServer) -> None:
    client = server.client(keys=replace(server.keys, secret_access_key="x" * 40))
    with pytest.raises(ClientError) as error:
        client.list_foundation_models()
    assert error.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_a_write_cannot_be_sent_again_later(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    client = server.client()
    client.meta.events.register("before-send.bedrock", lambda request, **_: sent.append(request))
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_tags_for_resource(resourceARN="arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdefghijkl")
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in sent[0].headers.items()}
    assert send(server, "POST", "/listTagsForResource", headers, sent[0].body)[0] == 404
    replays = server.service.authenticator._replays
    monkeypatch.setattr(replays, "_clock", lambda: time.time() + REPEAT_S + 1)
    status, code, body = send(server, "POST", "/listTagsForResource", headers, sent[0].body)
    assert (status, code) == (403, "InvalidSignatureException")
    assert b"before" in body


def test_equal_writes_signed_in_one_second_are_all_meant(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[str] = []
    moment = datetime.now(UTC).replace(tzinfo=None)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    monkeypatch.setattr(server.service.authenticator._replays, "_clock", moment.replace(tzinfo=UTC).timestamp)
    for _ in range(2):
        client = server.client()
        client.meta.events.register("before-send.bedrock", lambda request, **_: signed.append(_signature(request)))
        for _ in range(3):
            client.delete_model_invocation_logging_configuration()
    assert len(signed) == 6
    assert len(set(signed)) == 1


def _signature(request: Any) -> str:
    value = request.headers["Authorization"]
    return value.decode() if isinstance(value, bytes) else str(value)


HOSTS = ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "", "localhost@evil", "169.254.169.254"]


@pytest.mark.parametrize("host", HOSTS)
def test_names_of_other_hosts_are_refused(server: TestServer, host: str) -> None:
    for path in ("/health", "/foundation-models"):
        assert send(server, "GET", path, {**bearer(server), "Host": host})[:2] == (403, "AccessDeniedException")


def test_two_host_headers_are_refused(server: TestServer) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("GET", "/health")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 403)
    connection.close()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_pages_of_other_origins_are_refused(server: TestServer, origin: str) -> None:
    assert send(server, "GET", "/foundation-models", {**bearer(server), "Origin": origin})[0] == 403
    assert send(server, "POST", "/tagResource", {**bearer(server), "Origin": origin}, b"{}")[0] == 403


def test_a_page_of_our_own_may_ask(server: TestServer) -> None:
    assert send(server, "GET", "/foundation-models", {**bearer(server), "Origin": server.url})[0] == 200


def test_too_long_bodies_are_refused_and_not_kept(server: TestServer) -> None:
    body = json.dumps({"resourceARN": "x" * (1 << 20)}).encode()
    status, code, content = send(server, "POST", "/tagResource", bearer(server), body)
    assert (status, code) == (400, "ValidationException")
    assert b"longer than 1,048,576 bytes" in content


def test_listening_beyond_this_machine_needs_tls() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        with pytest.raises(UsageError, match="unencrypted"):
            serve(ServeSpec(host=host, port=0), lambda started: None)


@pytest.mark.parametrize("place", ["http://data", "file:///data", "gs://data"])
def test_only_folders_and_buckets_can_be_allowed(place: str) -> None:
    with pytest.raises(UsageError, match="names no place"):
        serve(ServeSpec(port=0, allowed_locations=("/data", place)), lambda started: None)


@pytest.mark.parametrize("region", ["", "x y", "EU", "a" * 21])
def test_a_region_that_no_arn_can_have_is_refused(region: str) -> None:
    with pytest.raises(UsageError, match="region"):
        serve_spec({"region": region})


def test_secrets_are_private_on_disk_and_not_in_the_database(server: TestServer) -> None:
    home = server.service.home
    for file in (home / "outcrop.db", home / "service" / "secret.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = b"".join(path.read_bytes() for path in home.glob("outcrop.db*"))
    assert server.keys.secret_access_key.encode() not in content
    assert server.keys.bearer.partition(".")[2].encode() not in content


def test_logs_hide_secrets(server: TestServer) -> None:
    for text in (
        server.keys.bearer,
        f"Authorization: Bearer {server.keys.bearer}",
        "AKIAIOSFODNN7EXAMPLE",
        "Signature=" + "a" * 64,
        'password = "hunter2hunter2"',
        '{"secretAccessKey": "abcdefghijkl"}',
    ):
        assert HIDDEN in redacted(text)
        assert server.keys.bearer not in redacted(text)
        assert "hunter2" not in redacted(text)
        assert "abcdefghijkl" not in redacted(text)


def test_a_revoked_key_opens_nothing(server: TestServer) -> None:
    keys = server.another_project("revoked")
    server.service.projects.revoke(keys.access_key_id)
    with pytest.raises(ClientError) as error:
        server.client(keys=keys).list_foundation_models()
    assert error.value.response["Error"]["Code"] == "UnrecognizedClientException"
