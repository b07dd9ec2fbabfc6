"""The card and the report of a preparation: those of any data set, on rows drawn from what was prepared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.core.events import Listener
from outcrop.core.seeds import derive
from outcrop.data.card import SEALED, Card, FileFacts, Provenance, Subject
from outcrop.data.certificate import CERTIFICATE
from outcrop.data.pipeline.output import Written
from outcrop.data.pipeline.runner import Stage
from outcrop.data.validation import check_records
from outcrop.workflows.describe_data import BiasSpec, described

MOST_ROWS = 20_000
"""Rows that a card is made from at the most, so that it takes seconds for a set of any size."""


def prepared_card(
    stage: Stage, written: Written, account: Mapping[str, Any], folder: Path, provenance: Provenance, listener: Listener
) -> Card:
    """The card of what was written into `folder`. Rows of a sealed test are not looked at.

    Nothing in it depends on the time or on the name of the folder.
    """
    listener({"event": "stage", "title": "Describing what was prepared"})
    certificate = folder / CERTIFICATE
    files = tuple(
        FileFacts(f"{name}.jsonl", name, (folder / f"{name}.jsonl").stat().st_size, found, sealed=name == SEALED)
        for name, found in written.digests.items()
    )
    split = json.loads(certificate.read_text("utf-8")) if certificate.is_file() else None
    about = Subject(tuple(each.name for each in files if not each.sealed), files, split, account)
    shown = np.arange(stage.rows)
    if stage.parts is not None and SEALED in stage.part_names:
        shown = np.flatnonzero(stage.parts != stage.part_names.index(SEALED))
    drawn = np.sort(np.random.default_rng(derive(0, "card")).permutation(shown)[:MOST_ROWS])
    records = list(stage.without(np.setdiff1d(np.arange(stage.rows), drawn)).records())
    card = described(records, about, check_records(records).problems, provenance, BiasSpec())
    return replace(card, drawn_from=len(shown)) if len(drawn) < len(shown) else card
