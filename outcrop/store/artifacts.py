"""Artifacts: files under keys that never change, in a local folder or in S3, whole or not there.

    KEY/PUBLICATION/…                the files, in a folder of this attempt to publish
    KEY/PUBLICATION/manifest.json    their sizes and digests
    KEY/_COMMITTED                   names the publication that counts; the store creates it for one writer only

Written in this order. What has no marker does not exist for readers, and no writer overwrites another's bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import JobFailed, MissingDependency, StoreUnavailable, UsageError
from outcrop.core.files import Location, staged_folder
from outcrop.core.ids import new_id

MANIFEST, COMMITTED = "manifest.json", "_COMMITTED"
PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class ArtifactFile:
    """A file of an artifact. name: its path within, with slashes; digest: "sha256:…"."""

    name: str
    size: int
    digest: str


class ArtifactStore:
    """Artifacts below one location. root: the folder, where the location is one."""

    def __init__(self, store: Any, location: str, root: Path | None = None) -> None:
        self._store, self.location, self._root = store, location, root

    @classmethod
    def open(cls, location: str, options: Mapping[str, Any] | None = None) -> ArtifactStore:
        """The store in a folder or at s3://BUCKET/PREFIX. options: of obstore's S3Store (endpoint, region, keys), by
        default from the variables AWS_…. Raises UsageError for any other place."""
        try:
            from obstore.store import LocalStore, S3Store
        except ImportError:
            raise MissingDependency.of("obstore", "s3", "Storing artifacts") from None
        place = Location.parse(location)
        if place.scheme == "file":
            folder = Path(place.rest).resolve()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder), location, folder)
        if place.scheme != "s3":
            raise UsageError(f"Artifacts cannot be stored in {location}.", "Allowed: a folder, s3://BUCKET/PREFIX.")
        bucket, _, prefix = place.rest.partition("/")
        return cls(S3Store(bucket, prefix=prefix.strip("/") or None, **dict(options or {})), location)

    def publish(self, key: str, folder: Path) -> list[ArtifactFile]:
        """Store all files of a folder under a new key; returns them as the manifest has them.

        Raises UsageError for a key that is taken or not plain, and for a folder that is empty or has links in it.
        """
        if self.exists(key):
            raise self._taken(key)
        publication = new_id()
        base = f"{_plain(key)}/{publication}"
        files = [self._upload(f"{base}/{name}", name, path) for name, path in _files(folder)]
        manifest = json.dumps({"files": [vars(file) for file in files]}, indent=2).encode()
        marker = {"publication": publication, "manifest": hashlib.sha256(manifest).hexdigest()}
        self._put(f"{base}/{MANIFEST}", manifest)
        try:
            self._put(f"{_plain(key)}/{COMMITTED}", json.dumps(marker).encode(), mode="create")
        except FileExistsError:
            raise self._taken(key) from None
        return files

    def exists(self, key: str) -> bool:
        """Whether a whole artifact is stored under this key."""
        return self._read(f"{_plain(key)}/{COMMITTED}") is not None

    def files(self, key: str) -> list[ArtifactFile]:
        """The files of an artifact. Raises UsageError where there is none, JobFailed where its manifest was changed."""
        return self._manifest(key)[1]

    def fetch(self, key: str, folder: Path) -> list[ArtifactFile]:
        """Bring an artifact into a folder, which is made whole or not at all; every byte is checked by its digest.

        Raises UsageError where there is no such artifact, JobFailed where a file is not what the manifest says.
        """
        base, files = self._manifest(key)
        with staged_folder(folder) as scratch:
            for file in files:
                path = scratch / _plain(file.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._download(f"{base}/{file.name}", path, file)
        return files

    def _manifest(self, key: str) -> tuple[str, list[ArtifactFile]]:
        """The folder of the publication that counts, and its files."""
        marker = self._read(f"{_plain(key)}/{COMMITTED}")
        if marker is None:
            raise UsageError(f"There is no artifact {key} in {self.location}.", "Publish it first, or mend the key.")
        committed = json.loads(marker)
        base = f"{_plain(key)}/{_plain(committed['publication'])}"
        manifest = self._read(f"{base}/{MANIFEST}") or b""
        if hashlib.sha256(manifest).hexdigest() != committed["manifest"]:
            raise self._damaged(f"{base}/{MANIFEST}")
        return base, [ArtifactFile(**file) for file in json.loads(manifest)["files"]]

    def _upload(self, target: str, name: str, path: Path) -> ArtifactFile:
        digest, size = hashlib.sha256(), 0

        def pieces(source: Any) -> Iterator[bytes]:
            # Hashed on the way, so that the manifest names the bytes that were sent.
            nonlocal size
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
                yield piece

        with path.open("rb") as source:
            self._put(target, pieces(source))
        return ArtifactFile(name, size, f"sha256:{digest.hexdigest()}")

    def _put(self, target: str, content: bytes | Iterator[bytes], **options: Any) -> None:
        with self._our_errors():
            self._store.put(target, content, **options)

    def _read(self, target: str) -> bytes | None:
        try:
            with self._our_errors():
                return bytes(self._open(target).bytes())
        except FileNotFoundError:
            return None

    def _download(self, source: str, path: Path, file: ArtifactFile) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as target, self._our_errors():
                for piece in self._open(source).stream(min_chunk_size=PIECE_BYTES):
                    digest.update(piece)
                    size += len(piece)
                    target.write(piece)
        except FileNotFoundError:
            raise self._damaged(source) from None
        if (size, f"sha256:{digest.hexdigest()}") != (file.size, file.digest):
            raise self._damaged(source)

    def _open(self, target: str) -> Any:
        # The store would follow a link out of its folder.
        if self._root and not (self._root / target).resolve().is_relative_to(self._root):
            raise self._damaged(target)
        return self._store.get(target)

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

        try:
            yield
        except AlreadyExistsError as error:
            raise FileExistsError(str(error)) from None
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from None
        except BaseError as error:
            said = str(error).strip().partition("\n")[0]
            raise StoreUnavailable(f"The store does not answer: {said}", "Try again.", self.location) from error

    def _taken(self, key: str) -> UsageError:
        return UsageError(f"There is an artifact {key} in {self.location} already.", "Keys never change: take another.")

    def _damaged(self, target: str) -> JobFailed:
        return JobFailed(
            "The file is not the one that was published.", "Publish it again.", f"{self.location}/{target}"
        )


def _files(folder: Path) -> list[tuple[str, Path]]:
    """All files below a folder, with their names in it."""
    paths = sorted(folder.rglob("*"))
    if links := [str(path) for path in paths if path.is_symlink()]:
        raise UsageError("Links cannot be published.", "Replace them by what they lead to.", ", ".join(links))
    files = [(path.relative_to(folder).as_posix(), path) for path in paths if path.is_file()]
    if not files:
        raise UsageError(f"There is no file in {folder}.", "Give a folder with files.")
    return [(_plain(name), path) for name, path in files]


def _plain(name: str) -> str:
    """A key or a name that is a path below something, and nothing cleverer. Raises UsageError for any other."""
    parts = name.split("/")
    if any(part in ("", ".", "..", COMMITTED) or "\\" in part or not part.isprintable() for part in parts):
        raise UsageError(f"{name!r} cannot be the name of an artifact.", "Allowed: words, joined by slashes.")
    return name
