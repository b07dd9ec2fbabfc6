"""The steps by name, in the order of the default chain. A new one is one file and one line here."""

from __future__ import annotations

from typing import Any

from outcrop.core.catalog import Catalog
from outcrop.data.steps.step import Step

HERE = "outcrop.data.steps"

STEPS: Catalog[type[Step[Any]]] = Catalog(
    "step",
    {
        "enrich": f"{HERE}.enrich:Enrich",
        "clean": f"{HERE}.clean:Clean",
        "filter": f"{HERE}.filter:Filter",
        # References hold what is masked later; what is masked may have become equal.
        "decontaminate": f"{HERE}.decontaminate:Decontaminate",
        "anonymise": f"{HERE}.anonymise:Anonymise",
        "dedupe": f"{HERE}.dedupe:Dedupe",
        "split": f"{HERE}.split:Split",
        "mix": f"{HERE}.mix:Mix",
    },
)

DEFAULT_CHAIN = ("clean", "filter", "dedupe", "split")
"""The steps of a preparation that says nothing else."""
