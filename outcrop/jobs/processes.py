"""Processes by what makes them unique: a number alone may belong to another one tomorrow."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNKNOWN = ""


def identity(pid: int) -> dict[str, Any]:
    """host, boot, pid and start of a process of this machine; JSON-ready."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "start": _start(pid)}


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether the process of an identity is alive on this machine, as far as this machine can tell."""
    now = identity(process["pid"])
    return bool(process["start"]) and all(process[name] == value for name, value in now.items())


def kill_group(process: Mapping[str, Any]) -> bool:
    """End the process and its group at once, also stopped ones. Returns False where it is not one of this machine, or
    gone, or leads no group: then nothing is done."""
    if not is_running(process):
        return False
    try:
        if os.getpgid(process["pid"]) != process["pid"]:
            return False
        os.killpg(process["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def out_of_memory_kills() -> int:
    """How many processes the kernel of this machine has ended for want of memory; 0 where it does not tell."""
    try:
        words = Path("/proc/vmstat").read_text().split()
    except OSError:
        return 0
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return UNKNOWN


def _start(pid: int) -> str:
    """Ticks after boot at which the process began, or nothing where it is gone or a zombie."""
    try:
        # The name of the program, in brackets, may hold blanks and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return UNKNOWN
    return UNKNOWN if fields[0] == "Z" else fields[19]
