"""The trainer as its runner sees it: a process in a group of its own, told things by one pipe and telling by others."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Kind = type[BaseException] | None

LINE_BYTES = 1 << 16
"""Longest line of output that is kept whole."""
PIECE = 1 << 16


class Child:
    """Runs `python -P -m module` with the number of its reporting pipe as the argument, until it ends or is killed.

    directory: its working folder, from which nothing is imported; environment: variables added to our own;
    kept_open: descriptors that it shall hold as long as it lives.
    """

    def __init__(
        self, module: str, directory: Path, environment: Mapping[str, str], kept_open: Sequence[int] = ()
    ) -> None:
        receiving, reporting = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(reporting)],
            cwd=directory, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}, process_group=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=(reporting, *kept_open),
        )  # fmt: skip
        os.close(reporting)
        assert self._process.stdout is not None, "it is a pipe"
        self.pid = self._process.pid
        self._pending = {receiving: b"", self._process.stdout.fileno(): b""}
        self._reports = receiving
        self._selector = selectors.DefaultSelector()
        for descriptor in self._pending:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._process.wait()
        self._selector.close()
        os.close(self._reports)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "it is a pipe"
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    @property
    def exit_status(self) -> int | None:
        """How it ended: its exit code, or the negative number of a signal; None while it runs."""
        return self._process.poll()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send it a message; one that is gone hears nothing."""
        assert self._process.stdin is not None, "it is a pipe"
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def listen(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What it reported or printed within this time: messages as they were sent, lines as "output" events."""
        for key, _ in self._selector.select(timeout_s):
            yield from self._read(key.fd)

    def rest(self) -> Iterator[dict[str, Any]]:
        """What is left in the pipes of one that has ended."""
        for descriptor in list(self._pending):
            yield from self._read(descriptor)
            if line := self._pending[descriptor]:
                yield from self._messages(descriptor, [line])

    def kill(self) -> None:
        """End it and all of its group at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _read(self, descriptor: int) -> Iterator[dict[str, Any]]:
        while True:
            try:
                piece = os.read(descriptor, PIECE)
            except BlockingIOError:
                return
            if not piece:
                if descriptor in self._selector.get_map():
                    self._selector.unregister(descriptor)
                return
            *lines, rest = (self._pending[descriptor] + piece).split(b"\n")
            if descriptor != self._reports and len(rest) > LINE_BYTES:
                lines, rest = [*lines, rest], b""
            self._pending[descriptor] = rest
            yield from self._messages(descriptor, lines)

    def _messages(self, descriptor: int, lines: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            if descriptor != self._reports:
                yield {"event": "output", "line": line.decode(errors="replace").rstrip("\r")[:LINE_BYTES]}
            elif line.endswith(b"}"):  # a report cut off by a kill was never made
                yield json.loads(line)
