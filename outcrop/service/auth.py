"""Who asks: a signature or a bearer key, and the project that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.keys import Keys
from outcrop.service.signature import Replays, SignedRequest, read_scope, verify
from outcrop.store.projects import Project

READS = ("GET", "HEAD")


@dataclass(frozen=True)
class Caller:
    """Who sent a request. key_id: of the access key, or the bearer key's public part."""

    project: Project
    key_id: str

    @property
    def arn(self) -> str:
        """The identity as AWS would write it."""
        return f"arn:aws:iam::{self.project.account}:user/{self.key_id}"


class Authenticator:
    """Checks requests against the keys of all projects."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._clock = keys, clock
        self._replays = Replays(clock)

    def authenticate(self, request: SignedRequest) -> Caller:
        """Who sent this. Raises the exceptions that AWS answers unsigned and wrongly signed requests with."""
        given = [value for name, value in request.headers if name == "authorization"]
        if len(given) != 1:
            raise BedrockError("MissingAuthenticationTokenException", "Missing Authentication Token")
        scheme, _, credentials = given[0].partition(" ")
        if scheme.lower() == "bearer":
            return self._by_bearer(credentials.strip())
        return self._by_signature(request, given[0])

    def _by_bearer(self, token: str) -> Caller:
        row = self._keys.bearer(token)
        if row is None:
            text = "Authentication failed: Please make sure your API Key is valid."
            raise BedrockError("AccessDeniedException", text)
        return Caller(row.project, row.id)

    def _by_signature(self, request: SignedRequest, authorization: str) -> Caller:
        scope = read_scope(authorization)
        found = self._keys.signing(scope.key_id)
        if found is None:
            text = "The security token included in the request is invalid."
            raise BedrockError("UnrecognizedClientException", text)
        row, secret = found
        verify(request, scope, secret, self._clock())
        if request.method not in READS:
            self._replays.check(scope.signature)
        return Caller(row.project, row.id)
