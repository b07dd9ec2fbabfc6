"""Where vLLM lives: a Python environment of its own, named by a setting."""

from __future__ import annotations

import shutil

from outcrop.core import settings
from outcrop.core.errors import UsageError

SETTING = "OUTCROP_VLLM_PYTHON"


def check_vllm(given: str | None = None) -> str:
    """The Python of vLLM's environment: given, or named by OUTCROP_VLLM_PYTHON.

    Raises UsageError where none is named, or it is no program.
    """
    named = given or settings.vllm_python()
    if not named:
        raise UsageError(
            "vLLM runs in a Python environment of its own, and none is named.",
            f"Make one, install vllm there, and name its python in {SETTING}.",
        )
    if shutil.which(named) is None:
        raise UsageError(f"There is no program {named}.", "Name the python of vLLM's environment.", SETTING)
    return named
