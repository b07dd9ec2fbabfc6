"""Bedrock, out in the open: model customization on your own machine.

The verbs of the command line, as functions with typed results: outcrop.tune, pretrain, distill, evaluate, generate,
stream, classify, batch, check_data, prepare, synthesise, split_data, anonymise, compare_data, find_bias,
describe_data, demo.
They are imported on first use, so that `import outcrop` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outcrop.workflows.anonymise import anonymise
    from outcrop.workflows.batch_infer import batch
    from outcrop.workflows.check_data import check_data, split_data
    from outcrop.workflows.classify import classify
    from outcrop.workflows.demo import demo
    from outcrop.workflows.describe_data import compare_data, describe_data, find_bias
    from outcrop.workflows.distill import distill
    from outcrop.workflows.evaluate import evaluate
    from outcrop.workflows.fine_tune import tune
    from outcrop.workflows.generate import generate, stream
    from outcrop.workflows.prepare import prepare
    from outcrop.workflows.pretrain import pretrain
    from outcrop.workflows.synthesise import synthesise

__all__ = [
    "anonymise", "batch", "check_data", "classify", "compare_data", "demo", "describe_data", "distill", "evaluate",
    "find_bias", "generate", "prepare", "pretrain", "split_data", "stream", "synthesise", "tune",
]  # fmt: skip

_HOMES = {
    "tune": "fine_tune", "stream": "generate", "batch": "batch_infer", "split_data": "check_data",
    "compare_data": "describe_data", "find_bias": "describe_data",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'outcrop' has no attribute {name!r}")
    return getattr(import_module(f"outcrop.workflows.{_HOMES.get(name, name)}"), name)


def __dir__() -> list[str]:
    return __all__
