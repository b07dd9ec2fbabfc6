"""The table of routes: every path that the server answers, and whether it needs a key. Nothing else is reachable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.calls import Endpoint
from outcrop.service.signature import SERVICE

LABEL = re.compile(r"\{(\w+)\}")
MIB = 1 << 20


@dataclass(frozen=True)
class Route:
    """A path with labels in braces. name: of its operation; open: answered without a key; body_bytes: longest body;
    services: what a signature may be scoped to."""

    method: str
    path: str
    name: str
    endpoint: Endpoint
    open: bool = False
    body_bytes: int = MIB
    services: tuple[str, ...] = (SERVICE,)


class Match(NamedTuple):
    """A route, and the values of its labels."""

    route: Route
    labels: dict[str, str]


class Routes:
    """Finds the route of a raw path: identifiers travel percent-encoded in one segment, slashes and all."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._by_shape: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        for route in self.all:
            parts = route.path.strip("/").split("/")
            self._by_shape.setdefault((route.method, len(parts)), []).append((parts, route))
        for candidates in self._by_shape.values():
            candidates.sort(key=lambda each: sum(1 for part in each[0] if LABEL.fullmatch(part)))

    def find(self, method: str, raw_path: str) -> Match | None:
        """The route of a path as it was on the wire, or None. Raises ValidationException for a label without UTF-8."""
        parts = raw_path.strip("/").split("/")
        for pattern, route in self._by_shape.get((method, len(parts)), []):
            labels = _labels(pattern, parts)
            if labels is not None:
                return Match(route, labels)
        return None


def _labels(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    labels = {}
    for wanted, given in zip(pattern, parts, strict=True):
        label = LABEL.fullmatch(wanted)
        if label and given:
            labels[label[1]] = _decoded(given)
        elif label or wanted != given:
            return None
    return labels


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BedrockError("ValidationException", "The path is not percent-encoded UTF-8.") from None
