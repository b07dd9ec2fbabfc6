"""What either side can say about its own process. Standard library only: both environments import it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far (Linux: VmHWM), in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by package."""
    return {package: version(package) for package in packages}
