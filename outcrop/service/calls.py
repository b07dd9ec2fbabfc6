"""A request that was authenticated and routed, and what answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from outcrop.service.auth import Caller
from outcrop.store.projects import Project

if TYPE_CHECKING:
    from outcrop.service.state import Service


@dataclass(frozen=True)
class Call:
    """What an endpoint gets. path: the labels of its route, decoded; headers: names in lower case; body: whole.

    request: Starlette's, to learn of disconnection; its body was read already.
    """

    service: Service
    caller: Caller
    request: Request
    request_id: str
    path: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def project(self) -> Project:
        """Whose request it is."""
        return self.caller.project


Endpoint = Callable[[Call], Awaitable[Response]]
"""Answers a call; raises BedrockError, or any error of ours, which becomes one."""
