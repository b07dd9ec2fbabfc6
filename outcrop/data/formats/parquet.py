"""Parquet, streamed in batches. A row's line is its 1-based number."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from outcrop.data.formats.container import Row, opened
from outcrop.data.problems import Problems
from outcrop.data.records import Origin

BATCH_ROWS = 1024


def rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The rows of a .parquet file, also under a compression suffix."""
    import pyarrow
    from pyarrow import parquet

    with opened(path, name, problems) as stream, _seekable(stream, path) as source:
        number = 0
        try:
            for batch in parquet.ParquetFile(source).iter_batches(BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, Origin(name, number))
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problems.add("broken-parquet", Origin(name, number), str(error).splitlines()[0])


@contextmanager
def _seekable(stream: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Parquet is read by seeking: a compressed file is unpacked to a temporary one first."""
    if path.suffix.lower() == ".parquet":
        yield stream
        return
    with tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(stream, unpacked)
        yield cast(BinaryIO, unpacked)
