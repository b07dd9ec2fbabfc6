"""Every environment variable that Outcrop reads, once."""

from __future__ import annotations

import os
from pathlib import Path

from outcrop.core.errors import UsageError


def home() -> Path:
    """OUTCROP_HOME: where ledgers, jobs and registered models live (default ~/.outcrop)."""
    return Path(os.environ.get("OUTCROP_HOME", "~/.outcrop")).expanduser()


def database() -> str:
    """OUTCROP_DATABASE: URL of the database of jobs (default: the SQLite file outcrop.db in OUTCROP_HOME)."""
    return os.environ.get("OUTCROP_DATABASE", "") or f"sqlite:///{home().absolute() / 'outcrop.db'}"


def has_database() -> bool:
    """Whether there is a database of jobs: one was named, or an earlier command made it."""
    return bool(os.environ.get("OUTCROP_DATABASE")) or (home() / "outcrop.db").exists()


def processor_jobs() -> int:
    """OUTCROP_JOBS: jobs that may run at once without a GPU (default 1: each uses all processors)."""
    given = os.environ.get("OUTCROP_JOBS", "")
    return int(given) if given.isdigit() else 1


def openai_key() -> str:
    """OPENAI_API_KEY: the key for remote teachers behind an OpenAI-compatible endpoint."""
    return os.environ.get("OPENAI_API_KEY", "")


def aws() -> dict[str, str]:
    """The AWS_ variables: keys and region of remote teachers on Bedrock, under the names that AWS gives them."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def threads() -> int:
    """OUTCROP_THREADS: threads for numerical work (default: the processors this process may use)."""
    given = os.environ.get("OUTCROP_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def vllm_python() -> str:
    """OUTCROP_VLLM_PYTHON: Python of the environment that vLLM is installed in (default: none; vLLM is not used)."""
    return os.environ.get("OUTCROP_VLLM_PYTHON", "")


def model_memory() -> int:
    """OUTCROP_MODEL_MEMORY: GiB that the models of a server may take, here in bytes (default: half of the memory)."""
    given = os.environ.get("OUTCROP_MODEL_MEMORY", "")
    try:
        return int(float(given) * 2**30) if given else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except ValueError:
        raise UsageError(f"OUTCROP_MODEL_MEMORY is {given}.", "Give a number of GiB.") from None
