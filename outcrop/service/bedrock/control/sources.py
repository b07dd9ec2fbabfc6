"""Checks of what a job will read and write, before the job is accepted."""

from __future__ import annotations

import io
from typing import Any

from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.core.ids import new_id
from outcrop.service.bedrock.errors import invalid
from outcrop.service.calls import Call
from outcrop.store.places import Places, PlacesSpec

ACCESS_CHECK = ".write_access_check_file.tmp"


def places_of(call: Call) -> tuple[PlacesSpec, dict[str, Any]]:
    """Where this project's files are; the second is for the arguments of a job."""
    spec = call.service.places(call.project)
    return spec, spec.model_dump(mode="json")


def check_readable(call: Call, uri: str, member: str) -> int:
    """How many bytes there are. Raises ValidationException where nothing can be read."""
    try:
        files = Places(places_of(call)[0]).files(uri)
    except (UsageError, StoreUnavailable) as error:
        raise invalid(f"{member}: {error}") from None
    except OSError as error:
        raise invalid(f"{member}: {uri} cannot be read: {error.strerror}.") from None
    if not files and not uri.startswith("s3://"):
        raise invalid(f"{member}: there is nothing at {uri}.")
    if not files:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        text = f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}"
        raise invalid(f"{member}: {text}: there is nothing at {uri}.")
    return sum(file.size for file in files)


def check_writable(call: Call, uri: str, member: str) -> None:
    """Write and remove a small file. Raises ValidationException where that cannot be done."""
    name = f"{ACCESS_CHECK}.{new_id()}"
    try:
        places = Places(places_of(call)[0])
        places.put(uri, name, io.BytesIO(b""))
        places.remove(uri, name)
    except UsageError as error:
        raise invalid(f"{member}: {error}") from None
    except (StoreUnavailable, OSError) as error:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        said = error.strerror if isinstance(error, OSError) else error.message
        text = f"Could not validate PutObject permissions to access S3 bucket: {bucket} at key {key}"
        raise invalid(f"{member}: Amazon S3 perms missing (PutObject): {text}/{ACCESS_CHECK}: {said}.") from None


def below(uri: str, name: str) -> str:
    """A URI below another one, without doubled slashes."""
    return f"{uri.rstrip('/')}/{name}"
