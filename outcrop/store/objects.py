"""Objects of S3 as files: everything under a prefix, or one object, fetched into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from outcrop.core.errors import MissingDependency, UsageError
from outcrop.core.files import Location
from outcrop.store.places import store_errors

PIECE_BYTES = 8 << 20


def fetch(
    location: str, folder: Path, wanted: Callable[[str], bool], options: Mapping[str, Any] | None = None
) -> list[str]:
    """Bring s3://BUCKET/KEY, or all wanted objects below it, into a folder; returns their names in it, sorted.

    options: of obstore's S3Store (endpoint, region, keys), by default from the variables AWS_…. An object of that very
    name is taken alone. Raises UsageError where there is nothing or the keys are refused, StoreUnavailable where the
    store does not answer.
    """
    try:
        from obstore.store import S3Store
    except ImportError:
        raise MissingDependency.of("obstore", "s3", "Reading from S3") from None
    bucket, _, key = Location.parse(location).rest.partition("/")
    store, key = S3Store(bucket, **dict(options or {})), key.strip("/")
    names: dict[str, str] = {}
    with suppress(FileNotFoundError), store_errors(location):
        names = _names(store, key, wanted)
        for source, name in names.items():
            _download(store, source, folder / name)
    if not names:
        raise UsageError(f"There are no files of rows at {location}.", "Check the bucket and the key.")
    return sorted(names.values())


def _names(store: Any, key: str, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Object keys → names in the folder."""
    if key and _exists(store, key):
        return {key: PurePosixPath(key).name}
    found = [entry["path"] for piece in store.list(prefix=key or None) for entry in piece]
    below = {path: path.removeprefix(f"{key}/") if key else path for path in found}
    return {path: name for path, name in below.items() if wanted(name) and ".." not in PurePosixPath(name).parts}


def _exists(store: Any, key: str) -> bool:
    try:
        store.head(key)
    except FileNotFoundError:
        return False
    return True


def _download(store: Any, source: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in store.get(source).stream(min_chunk_size=PIECE_BYTES):
            file.write(piece)
