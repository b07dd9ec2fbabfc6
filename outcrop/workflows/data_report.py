"""What is wrong with data of a job, told in terms of where its user keeps them, and written beside its results."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from outcrop.core.errors import DataError
from outcrop.store.places import Places

REPORT = "validation_report.json"


def published(store: Places, output: str, error: DataError, names: Mapping[str, str]) -> DataError:
    """The error in other words, its full report written below `output`. names: local path → URI."""
    report = _renamed(error.report or {"message": error.message}, names)
    store.put(output, REPORT, io.BytesIO(json.dumps(report, indent=2).encode()))
    message, where = _renamed([error.message, error.where], names)
    return DataError(message, error.remedy, where, report)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    text = json.dumps(value)
    for local, uri in names.items():
        text = text.replace(json.dumps(local)[1:-1], json.dumps(uri)[1:-1])
    return json.loads(text)
