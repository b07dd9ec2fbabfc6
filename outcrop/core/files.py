"""Files and where they are: typed locations, digests, transparent decompression, all-or-nothing writing."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from outcrop.core.errors import MissingDependency, UsageError

PACKED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compressed files."""

XZ_MEMORY = 512 << 20
"""Bytes that unpacking .xz may take; its format allows a dictionary of 4 GiB."""

SCHEMES = ("file", "s3", "hf", "bundled")


@dataclass(frozen=True)
class Location:
    """A typed URI: scheme is one of SCHEMES, rest what follows it. A plain path has scheme "file"."""

    scheme: str
    rest: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read "bundled:NAME", "hf:ORG/NAME", "s3://BUCKET/KEY", "file:///PATH" or a plain path."""
        scheme, colon, rest = text.partition(":")
        if not colon or len(scheme) == 1 or "/" in scheme or Path(text).exists():
            return cls("file", text)
        if scheme not in SCHEMES:
            raise UsageError(f"Unknown scheme in {text!r}.", f"Allowed: a path, {', '.join(s + ':' for s in SCHEMES)}.")
        return cls(scheme, rest.removeprefix("//") if scheme in ("file", "s3") else rest)

    def __str__(self) -> str:
        return self.rest if self.scheme == "file" else f"{self.scheme}:{'//' if self.scheme == 's3' else ''}{self.rest}"


class ZstdFile(io.RawIOBase):
    """The decompressed bytes of a .zst file. Unlike zstandard's own reader it refuses a file that was cut off.

    Raises EOFError for that, and OSError for bytes that are not zstd, as gzip and bz2 do.
    """

    PIECE = 1 << 10
    """Compressed bytes taken at once: a block of 4 bytes can unfold to 128 KiB, so this bounds memory to 32 MiB."""

    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingDependency.of("zstandard", "train", f"Reading {path.name}") from None
        self._zstandard = zstandard
        self._frame: Any = None
        self._file = path.open("rb")
        self._output = memoryview(b"")

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one piece goes; 0 at the end."""
        while not self._output:
            piece = self._file.read(self.PIECE)
            if not piece and self._frame is not None:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            if not piece:
                return 0
            of_next_frame = self._decompress(piece)
            self._file.seek(-of_next_frame, os.SEEK_CUR)
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        """Close the file beneath."""
        self._file.close()
        super().close()

    def _decompress(self, piece: bytes) -> int:
        """Decompress into the output; returns how many bytes of the piece belong to the next frame."""
        self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._output = memoryview(self._frame.decompress(piece))
        except self._zstandard.ZstdError as error:
            raise OSError(str(error)) from None
        if not self._frame.eof:
            return 0
        unused = len(self._frame.unused_data)
        self._frame = None
        return unused


class XzFile(io.RawIOBase):
    """The unpacked bytes of a .xz file, in bounded memory: the format lets a file ask for gigabytes.

    Raises lzma.LZMAError for what is broken or asks for more, and EOFError for a file that was cut off.
    """

    PIECE = 1 << 16

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._unpacker = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        self._begun = False

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one piece goes; 0 at the end."""
        content = b""
        while not content:
            piece = b""
            if self._unpacker.eof:
                piece = self._unpacker.unused_data or self._file.read(self.PIECE)
                piece = piece.lstrip(b"\0")  # padding between streams
                if not piece:
                    return 0
                self._unpacker, self._begun = lzma.LZMADecompressor(memlimit=XZ_MEMORY), False
            elif self._unpacker.needs_input:
                piece = self._file.read(self.PIECE)
                if not piece and not self._begun:
                    return 0
                if not piece:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            self._begun = True
            content = self._unpacker.decompress(piece, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file beneath."""
        self._file.close()
        super().close()


def open_binary(path: Path) -> BinaryIO:
    """Open for reading, decompressing .gz, .bz2, .xz and .zst by name."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".bz2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if suffix == ".xz":
        return cast(BinaryIO, io.BufferedReader(XzFile(path)))
    if suffix == ".zst":
        return cast(BinaryIO, io.BufferedReader(ZstdFile(path)))
    return path.open("rb")


def bare_suffix(path: Path) -> str:
    """The suffix under a compression suffix: ".jsonl" for rows.jsonl.gz."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return name.suffix.lower()


def digest(path: Path) -> str:
    """sha256 of a file's bytes, as "sha256:…"."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write so that the file is either absent, the old one or the whole new one, also after a crash."""
    content = data.encode() if isinstance(data, str) else data
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, because other readers cannot read it."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def staged_file(target: Path, mode: int = 0o644) -> Iterator[Path]:
    """A scratch file beside `target` that becomes `target` when the block ends well, and vanishes otherwise.

    mode: who may read it, from its first byte on.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise unusable_target(target, error) from error
    os.fchmod(descriptor, mode)
    os.close(descriptor)
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A scratch folder beside `target` that becomes `target` when the block ends well, and vanishes otherwise."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise unusable_target(target, error) from error
    os.chmod(scratch, 0o755)
    try:
        yield scratch
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def check_target(target: Path, *, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a `--to` that would bury something, or cannot be made: it must be absent, empty, or named with overwrite.

    inputs: what the work reads; overwriting never removes them, nor the folder that the command runs in.
    """
    if target.is_file():
        raise UsageError(f"--to {target} is a file.", "Give a folder.")
    resolved = target.resolve()
    if Path.cwd().is_relative_to(resolved):
        raise UsageError(f"--to {target} is the working folder, or holds it.", "Give a folder of its own.")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise UsageError(f"--to {target} is not empty.", "Give a new folder, or say --overwrite.")
        for held in inputs:
            if Path(held).resolve().is_relative_to(resolved):
                raise UsageError(f"--to {target} holds {held}, which is read.", "Give another folder.")
    above = next((folder for folder in resolved.parents if folder.exists()), resolved)
    if not above.is_dir():
        raise UsageError(f"--to {target} cannot be made: {above} is a file.", "Give another folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"--to {target} cannot be made: no right to write in {above}.", "Give another folder.")


def unusable_target(target: Path, error: OSError) -> UsageError:
    """The refusal of the system to make `--to`, as an error of the request."""
    return UsageError(f"--to {target} cannot be made: {error.strerror}.", "Give another folder.")
