"""Places of files by URI: buckets, as folders here or on an S3 server, and folders. Only what was allowed is reachable.

A URI is parsed once and strictly. Below a folder every step of a path is opened without following links, at the time
of reading and writing, so that nothing that changes in between leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from outcrop.core.errors import MissingDependency, StoreUnavailable, UsageError
from outcrop.core.ids import new_id
from outcrop.core.spec import Spec, parameter

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PART = re.compile(r"[^\x00-\x1f\x7f\\%#?]{1,255}")
PIECE_BYTES = 8 << 20
MISSING_BUCKET, REFUSED = "NoSuchBucket", "403 Forbidden"
"""What an error of a list says, which obstore does not tell apart."""
SCRATCH = ".outcrop-"
"""Names of files that are being written begin so; they are listed nowhere."""


class PlacesSpec(Spec):
    """Where s3:// leads, and what may be read and written."""

    buckets: str = parameter("", "the folder whose folders are buckets, where there is no endpoint")
    endpoint: str = parameter("", "URL of an S3 server; its keys and region are those of the variables AWS_…")
    allowed: tuple[str, ...] = parameter((), "s3:// prefixes and folders; without a prefix every bucket is allowed")


class Place(NamedTuple):
    """A parsed URI. root: a bucket, or an allowed folder; key: the path below it, without slashes around."""

    scheme: str
    root: str
    key: str

    @property
    def uri(self) -> str:
        """The URI again."""
        return f"s3://{self.root}/{self.key}" if self.scheme == "s3" else f"file://{self.root}/{self.key}"


class Listed(NamedTuple):
    """A file that was found: its name below the place that was listed, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Backend:
    """How files of one bucket or folder are reached."""

    walk: Callable[[str], Iterator[Listed]]
    read: Callable[[str], Iterator[bytes]]
    write: Callable[[str, BinaryIO], None]
    remove: Callable[[str], None]


class Places:
    """Files at allowed URIs. Every method raises UsageError for a URI that is not plain or not allowed,
    FileNotFoundError for what is not there, and StoreUnavailable where the store does not answer."""

    def __init__(self, spec: PlacesSpec) -> None:
        self.spec = spec
        self._folders = [Path(text).expanduser().resolve() for text in spec.allowed if not text.startswith("s3://")]
        self._prefixes = [text for text in spec.allowed if text.startswith("s3://")]

    def parse(self, uri: str) -> Place:
        """The place that a URI names, if it is allowed."""
        scheme, colon, rest = uri.partition("://")
        if not colon or scheme not in ("s3", "file"):
            raise UsageError(f"{_shown(uri)} is no place for files.", "Allowed: s3://BUCKET/KEY, file:///FOLDER/FILE.")
        parts = rest.strip("/").split("/") if scheme == "s3" else rest.removeprefix("/").rstrip("/").split("/")
        if not _is_plain(parts) or rest.startswith("//"):
            raise UsageError(
                f"{_shown(uri)} is not a plain path.", "Leave out empty parts, dots, %, #, ?, backslashes and controls."
            )
        if scheme == "file":
            if not rest.startswith("/"):
                raise UsageError(f"{_shown(uri)} names a host.", "Write file:///FOLDER/FILE.")
            return self._in_folder(Path("/", *parts), uri)
        return self._in_bucket(parts, uri)

    def files(self, uri: str) -> list[Listed]:
        """The file of this name, or all files below it; empty where there is neither."""
        place = self.parse(uri)
        return sorted(self._backend(place).walk(place.key))

    def fetch(self, uri: str, name: str, target: Path) -> int:
        """Copy a file to a new local one; returns its bytes. name: as `files` lists it, empty for the URI itself."""
        place = self._below(uri, name) if name else self.parse(uri)
        size = 0
        with target.open("xb") as file:
            for piece in self._backend(place).read(place.key):
                file.write(piece)
                size += len(piece)
        return size

    def put(self, uri: str, name: str, content: BinaryIO) -> None:
        """Write a file below a URI, whole or not at all."""
        place = self._below(uri, name)
        self._backend(place).write(place.key, content)

    def remove(self, uri: str, name: str) -> None:
        """Remove a file below a URI, if it is there."""
        place = self._below(uri, name)
        self._backend(place).remove(place.key)

    def _below(self, uri: str, name: str) -> Place:
        """A place below a URI, by a plain path."""
        if not _is_plain(name.split("/")):
            raise UsageError(f"{_shown(name)} is not the name of a file.", "Leave out empty parts, dots and controls.")
        place = self.parse(uri)
        return place._replace(key=f"{place.key}/{name}".strip("/"))

    def _in_folder(self, path: Path, uri: str) -> Place:
        for folder in self._folders:
            if path.is_relative_to(folder) and path != folder:
                return Place("file", str(folder), str(path.relative_to(folder)))
        raise UsageError(f"{_shown(uri)} is not below an allowed folder.", "Allow one: outcrop serve --allow FOLDER.")

    def _in_bucket(self, parts: list[str], uri: str) -> Place:
        bucket, key = parts[0], "/".join(parts[1:])
        if not BUCKET.fullmatch(bucket) or ".." in bucket:
            raise UsageError(
                f"{_shown(uri)} names no bucket.", "A bucket has 3 to 63 lower-case letters, digits, - and ."
            )
        plain = f"s3://{bucket}/{key}".rstrip("/")
        allowed = [prefix.rstrip("/") for prefix in self._prefixes]
        if allowed and not any(plain == prefix or plain.startswith(f"{prefix}/") for prefix in allowed):
            raise UsageError(f"{_shown(uri)} is not allowed.", "Allow its prefix: outcrop serve --allow s3://BUCKET/…")
        return Place("s3", bucket, key)

    def _backend(self, place: Place) -> Backend:
        if place.scheme == "file":
            return _folder(Path(place.root))
        if self.spec.endpoint:
            return _bucket(place.root, self.spec.endpoint)
        if not self.spec.buckets:
            raise UsageError("There are no buckets here.", "Name an S3 server: outcrop serve --s3-endpoint URL.")
        return _folder(Path(self.spec.buckets) / place.root)


def _is_plain(parts: Iterable[str]) -> bool:
    return all(PART.fullmatch(part) and part not in (".", "..") for part in parts)


def _shown(uri: str) -> str:
    return repr(uri if len(uri) <= 200 else f"{uri[:200]}…")


def _folder(root: Path) -> Backend:
    def walk(key: str) -> Iterator[Listed]:
        try:
            with _opened(root, key) as descriptor:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode):
                    yield Listed("", found.st_size)
                elif stat.S_ISDIR(found.st_mode):
                    yield from _walk(descriptor, "")
        except FileNotFoundError:
            return

    def read(key: str) -> Iterator[bytes]:
        with _opened(root, key) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(errno.ENOENT, "No such file", key)
            while piece := os.read(descriptor, PIECE_BYTES):
                yield piece

    def write(key: str, content: BinaryIO) -> None:
        above, _, name = key.rpartition("/")
        with _opened(root, above, make=True) as descriptor:
            scratch = f"{SCRATCH}{new_id()}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
            try:
                with os.fdopen(os.open(scratch, flags, 0o644, dir_fd=descriptor), "wb") as file:
                    shutil.copyfileobj(content, file, PIECE_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(scratch, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            except BaseException:
                _unlink(scratch, descriptor)
                raise

    def remove(key: str) -> None:
        above, _, name = key.rpartition("/")
        try:
            with _opened(root, above) as descriptor:
                _unlink(name, descriptor)
        except FileNotFoundError:
            return

    return Backend(walk, read, write, remove)


def _unlink(name: str, descriptor: int) -> None:
    try:
        os.unlink(name, dir_fd=descriptor)
    except FileNotFoundError:
        return


@contextmanager
def _opened(root: Path, key: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of a path below a root, opened part by part. A link on the way is as if it were not there.

    make: the folders on the way, the last part among them; the root must be there.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in filter(None, key.split("/")):
            try:
                if make:
                    _make_folder(part, descriptor)
                inner = os.open(part, flags, dir_fd=descriptor)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                    raise FileNotFoundError(errno.ENOENT, "No such file", key) from None
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _make_folder(name: str, descriptor: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=descriptor)
    except FileExistsError:
        return


def _walk(descriptor: int, above: str) -> Iterator[Listed]:
    for entry in sorted(os.scandir(descriptor), key=lambda each: each.name):
        name = f"{above}{entry.name}"
        if entry.is_symlink() or entry.name.startswith(SCRATCH) or not PART.fullmatch(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            try:
                yield from _walk(inner, f"{name}/")
            finally:
                os.close(inner)
        elif entry.is_file(follow_symlinks=False):
            yield Listed(name, entry.stat(follow_symlinks=False).st_size)


def _bucket(bucket: str, endpoint: str) -> Backend:
    try:
        from obstore.store import S3Store
    except ImportError:
        raise MissingDependency.of("obstore", "s3", "Reading from S3") from None
    options: dict[str, Any] = {"client_options": {"allow_http": endpoint.startswith("http://"), "timeout": "60s"}}
    store: Any = S3Store(
        bucket, endpoint=endpoint, virtual_hosted_style_request=False, **options, retry_config={"max_retries": 2}
    )

    def walk(key: str) -> Iterator[Listed]:
        prefix = f"{key}/" if key else ""
        try:
            with store_errors(endpoint):
                for chunk in store.list(prefix or None):
                    yield from (Listed(str(each["path"]).removeprefix(prefix), int(each["size"])) for each in chunk)
                if key:
                    yield Listed("", int(store.head(key)["size"]))
        except FileNotFoundError:
            return

    def read(key: str) -> Iterator[bytes]:
        with store_errors(endpoint):
            yield from (bytes(piece) for piece in store.get(key).stream(min_chunk_size=PIECE_BYTES))

    def write(key: str, content: BinaryIO) -> None:
        with store_errors(endpoint):
            store.put(key, content)

    def remove(key: str) -> None:
        with store_errors(endpoint):
            store.delete(key)

    return Backend(walk, read, write, remove)


@contextmanager
def store_errors(endpoint: str) -> Iterator[None]:
    """Errors of obstore as ours: FileNotFoundError, UsageError where the keys are refused, else StoreUnavailable."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "No such bucket or file", endpoint) from None
    except BaseError as error:
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or REFUSED in str(error):
            remedy = "Set AWS_ACCESS_KEY_ID and its secret."
            raise UsageError("The S3 server refuses the keys of this server.", remedy) from None
        if MISSING_BUCKET in str(error):
            raise FileNotFoundError(errno.ENOENT, "No such bucket", endpoint) from None
        said = str(error).strip().partition("\n")[0]
        raise StoreUnavailable(f"The S3 server does not answer: {said}", "Try again.", endpoint) from error
