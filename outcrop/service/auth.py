"""Who asks: a signature or a bearer key, and the project that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.keys import Keys, bearer_id
from outcrop.service.signature import SERVICE, Replays, Scope, SignedRequest, read_scope, verify
from outcrop.store.projects import Project

READS = ("GET", "HEAD")
ASKED = "/model/"
"""Questions to models change nothing, and the same one asked twice in a second has the same signature."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request. key_id: of the access key, or the bearer key's public part."""

    project: Project
    key_id: str

    @property
    def arn(self) -> str:
        """The identity as AWS would write it."""
        return f"arn:aws:iam::{self.project.account}:user/{self.key_id}"


@dataclass(frozen=True)
class Claim:
    """What a request says of itself: the id of a key, and what is to prove it: a bearer key, or a signature's scope."""

    key_id: str
    proof: str | Scope


def claim_of(headers: Sequence[tuple[str, str]]) -> Claim:
    """Who a request says it is from. Raises the exceptions of AWS for requests that say nothing, or not all of it."""
    given = [value for name, value in headers if name == "authorization"]
    if len(given) != 1:
        raise BedrockError("MissingAuthenticationTokenException", "Missing Authentication Token")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() == "bearer":
        return Claim(bearer_id(token.strip()), token.strip())
    scope = read_scope(given[0])
    return Claim(scope.key_id, scope)


class Authenticator:
    """Checks claims against the keys of all projects."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._clock = keys, clock
        self._replays = Replays(clock)

    def is_quick(self, claim: Claim) -> bool:
        """Whether a claim can be checked without asking the database."""
        return self._keys.is_known(claim.key_id)

    def check(self, claim: Claim, request: SignedRequest, services: Sequence[str] = (SERVICE,)) -> Caller:
        """Who sent this. services: what its signature may be scoped to.

        Raises the exceptions that AWS answers wrong keys and signatures with.
        """
        if isinstance(claim.proof, str):
            row = self._keys.bearer(claim.proof)
            if row is None:
                text = "Authentication failed: Please make sure your API Key is valid."
                raise BedrockError("AccessDeniedException", text)
            return Caller(row.project, row.id)
        found = self._keys.signing(claim.key_id)
        if found is None:
            text = "The security token included in the request is invalid."
            raise BedrockError("UnrecognizedClientException", text)
        row, secret = found
        service = claim.proof.service if claim.proof.service in services else services[0]
        verify(request, claim.proof, secret, self._clock(), service)
        if request.method not in READS and not request.path.startswith(ASKED):
            self._replays.check(claim.proof.signature)
        return Caller(row.project, row.id)
