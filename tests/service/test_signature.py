"""Signatures: AWS's own published vectors, whatever botocore signs, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.signature import REPEAT_S, SKEW_S, Replays, SignedRequest, read_scope, verify

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()

VECTORS = [  # name, method, path, query, signature: AWS's Signature Version 4 test suite
    ("get-vanilla", "GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    ("post-vanilla", "POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "method", "path", "query", "signature"), VECTORS)
def test_published_vectors_verify(name: str, method: str, path: str, query: str, signature: str) -> None:
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )
    headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")]
    request = SignedRequest(method, path, query, headers, b"")
    verify(request, read_scope(authorization), SECRET, NOW, "service")


def _signed(path: str = "/foundation-models", query: str = "", body: bytes = b"", service: str = "bedrock") -> Any:
    url = f"http://127.0.0.1:8321{path}" + (f"?{query}" if query else "")
    request = AWSRequest("POST", url, {"X-Amz-Meta": " two  words "}, body)
    SigV4Auth(Credentials("OUTCKEY", SECRET), service, "us-east-1").add_auth(request)
    headers = [("host", "127.0.0.1:8321"), *((name.lower(), value) for name, value in request.headers.items())]
    return SignedRequest("POST", path, query, headers, body), read_scope(request.headers["Authorization"])


def _now(request: SignedRequest) -> float:
    return datetime.strptime(request.header("x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


CHARACTERS = st.text(st.characters(codec="utf-8"), max_size=6)


FIELDS = st.tuples(st.text("abz~é &=+/", min_size=1, max_size=4), CHARACTERS)


@given(segments=st.lists(CHARACTERS, max_size=4), fields=st.lists(FIELDS, max_size=3))
def test_what_botocore_signs_verifies(segments: list[str], fields: list[tuple[str, str]]) -> None:
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    query = urlencode(fields, quote_via=quote)
    request, scope = _signed(path, query, b'{"a": 1}')
    verify(request, scope, SECRET, _now(request))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"}, {"path": "/foundation-model"}, {"query": "a=1"}, {"body": b"other"},
        {"headers": "x-amz-meta"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_any_change_of_the_request_is_noticed(change: dict[str, Any]) -> None:
    request, scope = _signed()
    if "headers" in change:
        change = {"headers": [(name, "x" if name == "x-amz-meta" else value) for name, value in request.headers]}
    changed = SignedRequest(**{**vars(request), **change})
    with pytest.raises(BedrockError, match="does not match"):
        verify(changed, scope, SECRET, _now(request))


def test_another_secret_service_and_time_are_refused() -> None:
    request, scope = _signed()
    with pytest.raises(BedrockError, match="does not match"):
        verify(request, scope, SECRET + "x", _now(request))
    with pytest.raises(BedrockError, match="scoped to the service"):
        verify(*_signed(service="s3"), SECRET, _now(request))
    for later in (SKEW_S + 1, -SKEW_S - 1):
        with pytest.raises(BedrockError, match="expired"):
            verify(request, scope, SECRET, _now(request) + later)


def test_headers_of_amazon_must_be_signed() -> None:
    request, scope = _signed()
    added = SignedRequest(**{**vars(request), "headers": [*request.headers, ("x-amz-security-token", "t")]})
    with pytest.raises(BedrockError, match="must be signed"):
        verify(added, scope, SECRET, _now(request))


@pytest.mark.parametrize("text", ["", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/aws4_request", "Basic"])
def test_incomplete_headers_are_refused(text: str) -> None:
    with pytest.raises(BedrockError, match="complete"):
        read_scope(text)


def test_a_write_s_signature_is_good_for_seconds_only() -> None:
    now = [1000.0]
    replays = Replays(lambda: now[0], most=3)
    replays.check("a" * 64)
    now[0] += REPEAT_S
    replays.check("a" * 64)
    now[0] += 1
    with pytest.raises(BedrockError, match="before"):
        replays.check("a" * 64)
    now[0] += SKEW_S
    with pytest.raises(BedrockError, match="before"):
        replays.check("a" * 64)
    for other in "bcde":
        replays.check(other * 64)
    assert len(replays._seen) == 3
