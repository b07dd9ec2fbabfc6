"""AWS's Signature Version 4, verified: the canonical request is made again from the bytes that arrived.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from outcrop.service.bedrock.errors import BedrockError

SKEW_S = 300.0
"""How far a client's clock may be from ours."""
REPEAT_S = 5.0
"""How long after its first arrival a write may arrive again."""
SERVICE = "bedrock"
CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([\w-]{1,128})/(\d{8})/([a-z0-9-]{1,32})/([a-z0-9-]{1,32})/aws4_request,\s*"
    r"SignedHeaders=([a-z0-9;_-]{1,2048}),\s*Signature=([0-9a-f]{64})"
)
UNRESERVED = "-_.~"


class Scope(NamedTuple):
    """What a signature says of itself."""

    key_id: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str


@dataclass(frozen=True)
class SignedRequest:
    """A request as it was on the wire. path, query: still percent-encoded; headers: names in lower case, as sent."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The values of a header, joined as in a canonical request; empty where it is absent."""
        return ",".join(" ".join(value.split()) for key, value in self.headers if key == name)


def read_scope(authorization: str) -> Scope:
    """The parts of an Authorization header. Raises IncompleteSignatureException."""
    found = CREDENTIAL.fullmatch(authorization.strip())
    if found is None:
        text = "The Authorization header is no complete AWS4-HMAC-SHA256."
        raise BedrockError("IncompleteSignatureException", text)
    key_id, day, region, service, signed, signature = found.groups()
    return Scope(key_id, day, region, service, tuple(signed.split(";")), signature)


def verify(request: SignedRequest, scope: Scope, secret: str, now: float, service: str = SERVICE) -> None:
    """Raises InvalidSignatureException unless the request was signed with this secret, for this service, just now."""
    date = request.header("x-amz-date")
    problem = _scope_problem(request, scope, date, service) or _skew_problem(date, now)
    if problem:
        raise BedrockError("InvalidSignatureException", problem)
    expected = _signature(secret, scope, date, canonical(request, scope.signed))
    if not hmac.compare_digest(expected, scope.signature):
        text = "The request signature we calculated does not match the signature you provided. Check your secret key."
        raise BedrockError("InvalidSignatureException", text)


def canonical(request: SignedRequest, signed: Sequence[str]) -> str:
    """The canonical request: what both sides hash."""
    headers = "".join(f"{name}:{request.header(name)}\n" for name in signed)
    digest = hashlib.sha256(request.body).hexdigest()
    path = quote(_without_dots(request.path), safe="/~")
    return "\n".join((request.method, path, _canonical_query(request.query), headers, ";".join(signed), digest))


def _scope_problem(request: SignedRequest, scope: Scope, date: str, service: str) -> str:
    if scope.service != service:
        return f"Credential should be scoped to the service {service}, not {scope.service}."
    if not date.startswith(scope.day):
        return "The date in the credential scope is not the date of the request."
    required = {"host", "x-amz-date"} | {name for name, _ in request.headers if name.startswith("x-amz-")}
    if missing := required - set(scope.signed):
        return f"These headers must be signed: {', '.join(sorted(missing))}."
    if list(scope.signed) != sorted(set(scope.signed)):
        return "The signed headers must be sorted, each named once."
    digest = request.header("x-amz-content-sha256")
    if digest and not hmac.compare_digest(digest, hashlib.sha256(request.body).hexdigest()):
        return "The digest in x-amz-content-sha256 is not that of the body."
    return ""


def _skew_problem(date: str, now: float) -> str:
    try:
        sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return "The header x-amz-date must be a time such as 20260102T030405Z."
    if abs(now - sent) > SKEW_S:
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"Signature expired: {date} is more than {SKEW_S:.0f} seconds from the server's {moment}."
    return ""


def _signature(secret: str, scope: Scope, date: str, request: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (scope.day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    place = f"{scope.day}/{scope.region}/{scope.service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", date, place, digest))
    return hmac.digest(key, text.encode(), "sha256").hex()


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4, and runs of slashes as one: every service but S3 signs the path like this."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _canonical_query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    again = sorted((_again(name), _again(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in again)


def _again(text: str) -> str:
    return quote(unquote_to_bytes(text), safe=UNRESERVED)


class Replays:
    """Signatures of writes that were seen while they are good: each is good for REPEAT_S after its first arrival.

    Not for once: two equal requests of boto3 within one second have the same signature, and both are meant.
    """

    def __init__(self, clock: Callable[[], float], most: int = 200_000) -> None:
        self._clock, self._most = clock, most
        self._seen: dict[bytes, float] = {}

    def check(self, signature: str) -> None:
        """Raises InvalidSignatureException for a signature that was seen longer ago."""
        now, key = self._clock(), bytes.fromhex(signature)[:16]
        while self._seen and (len(self._seen) >= self._most or now - next(iter(self._seen.values())) > 2 * SKEW_S):
            del self._seen[next(iter(self._seen))]
        if now - self._seen.setdefault(key, now) > REPEAT_S:
            raise BedrockError("InvalidSignatureException", "This very request was received before. Sign it again.")
