"""The log of invocations: Bedrock's records, gzipped JSON lines under Bedrock's keys. Off until it is configured."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from outcrop.core.errors import OutcropError
from outcrop.service.bedrock.runtime.redaction import Redaction
from outcrop.service.calls import Call
from outcrop.service.log import LOGGER
from outcrop.store.places import Places
from outcrop.store.projects import Project

SETTING = "invocation-logging"
"""The name of a project's setting: where its log goes."""
LARGEST_BODY = 100 << 10
"""Bytes of a body within a record; a larger one becomes an object of its own."""
BATCH, BATCH_S = 500, 2.0
"""Records of an object, and how long the first of them waits for others."""
MOST_PENDING = 10_000


@dataclass(frozen=True)
class LogSettings:
    """Where and what to log. uri: below which records lie; text: whether bodies are logged; redaction: if any."""

    places: Places
    uri: str
    text: bool = True
    redaction: Redaction | None = None

    def add(self, name: str, content: bytes) -> str:
        """Store an object; returns its URI."""
        self.places.put(self.uri, name, io.BytesIO(content))
        return f"{self.uri}/{name}"


@dataclass
class Entry:
    """One invocation as it goes on. output: JSON of the answer, of a stream its chunks with the text in one piece."""

    operation: str
    project: Project
    caller_arn: str
    request_id: str
    body: bytes
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    model_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    output: Any = None
    error_code: str = ""

    @classmethod
    def of(cls, call: Call, operation: str) -> Entry:
        """The entry of a request that begins."""
        return cls(operation, call.project, call.caller.arn, call.request_id, call.body)


Lookup = Callable[[Project], LogSettings | None]
"""The settings of a project, None while its log is off; asked in a thread."""


class InvocationLog:
    """Collects entries and writes them behind the requests, which never wait for it and never fail with it."""

    def __init__(self, region: str, lookup: Lookup) -> None:
        self._region, self._lookup = region, lookup
        self._pending: deque[Entry] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._hurry, self._flushing = asyncio.Event(), asyncio.Lock()
        self.counts: Counter[str] = Counter()
        """Records written, and dropped because the store could not take them."""

    def write(self, entry: Entry) -> None:
        """Take an entry that has ended. The oldest is dropped, and counted, where too many could not be stored."""
        if len(self._pending) >= MOST_PENDING:
            self._pending.popleft()
            self.counts["dropped"] += 1
        self._pending.append(entry)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Write what is pending."""
        self._hurry.set()
        if self._writer is not None:
            await self._writer
        await self.flush()
        if self._pending:
            self.counts["dropped"] += len(self._pending)
            LOGGER.error("invocation log", extra={"fields": {"dropped": len(self._pending)}})

    async def flush(self) -> None:
        """Write what is pending now; what cannot be stored stays pending."""
        async with self._flushing:
            left: list[Entry] = []
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
                left += await asyncio.to_thread(self._store, batch)
            self._pending.extendleft(reversed(left))

    async def _write_soon(self) -> None:
        while self._pending and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), BATCH_S)
            await self.flush()

    def _store(self, batch: Iterable[Entry]) -> list[Entry]:
        """In a thread: the batch as one object for each project and hour. Returns what could not be stored."""
        groups: dict[tuple[Project, str], list[Entry]] = {}
        for entry in batch:
            groups.setdefault((entry.project, f"{entry.began:%Y/%m/%d/%H}"), []).append(entry)
        left = []
        for (project, hour), entries in groups.items():
            try:
                self._store_group(project, hour, entries)
            except Exception as error:  # noqa: BLE001  whatever hinders the log must not hinder answers
                left += entries
                reason = str(error) if isinstance(error, OutcropError) else type(error).__name__
                LOGGER.error("invocation log", extra={"fields": {"pending": len(left), "reason": reason}})
        return left

    def _store_group(self, project: Project, hour: str, entries: Sequence[Entry]) -> None:
        settings = self._lookup(project)
        if settings is None:
            return
        lines = [self._line(entry, settings, hour) for entry in entries]
        name = f"{entries[0].began:%Y%m%dT%H%M%S}{entries[0].began.microsecond // 1000:03d}Z_{secrets.token_hex(8)}"
        settings.add(f"{hour}/{name}.json.gz", gzip.compress(b"\n".join(lines) + b"\n"))
        self.counts["written"] += len(lines)

    def _line(self, entry: Entry, settings: LogSettings, hour: str) -> bytes:
        given, metadata = _parsed(entry.body), entry.metadata
        made = _parsed(entry.output) if isinstance(entry.output, bytes) else entry.output
        if settings.redaction is not None:
            given, made, metadata = settings.redaction((given, made, metadata))
        store = partial(self._body, entry, settings, hour)
        record: dict[str, Any] = {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": f"{entry.began:%Y-%m-%dT%H:%M:%SZ}",
            "accountId": entry.project.account,
            "identity": {"arn": entry.caller_arn},
            "region": self._region,
            "requestId": entry.request_id,
            "operation": entry.operation,
            "modelId": entry.model_id,
            "input": {
                "inputContentType": "application/json",
                **store("input", given),
                "inputTokenCount": entry.input_tokens,
            },
        }
        if entry.error_code:
            record["errorCode"] = entry.error_code
        if made is not None:
            counted = {"outputTokenCount": entry.output_tokens}
            record["output"] = {"outputContentType": "application/json", **store("output", made), **counted}
        if metadata:
            record["requestMetadata"] = metadata
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")

    def _body(self, entry: Entry, settings: LogSettings, hour: str, side: str, body: Any) -> Mapping[str, Any]:
        """A body in its record, or beside it where it is large; none where text is not to be delivered."""
        if not settings.text:
            return {}
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
        if len(content) <= LARGEST_BODY:
            return {f"{side}BodyJson": body}
        stored = settings.add(f"{hour}/data/{entry.request_id}_{side}.json.gz", gzip.compress(content))
        return {f"{side}BodyS3Path": stored}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {}
