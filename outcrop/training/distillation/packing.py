"""A teacher's word on one document in few bytes: 2 or 4 for a token, 2 for its probability or a number of a state."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.training.layout import Teaching

HEADER = struct.Struct("<BBI")
"""Version, bytes of a token id, supervised tokens."""
PLAIN, WITH_STATES = 1, 2


def pack(teaching: Teaching) -> bytes:
    """Header; how many tokens are kept at each place; their ids; their log-probabilities and that of the rest, fp16;
    then the states where there are some, fp16."""
    kept = teaching.probabilities > 0
    ids = teaching.ids[kept]
    width = 2 if not len(ids) or ids.max() < 1 << 16 else 4
    rest = np.maximum(teaching.rest, 0)
    logs = np.concatenate([teaching.probabilities[kept], rest])
    with np.errstate(divide="ignore"):
        logs = np.log(logs).astype(np.float16)
    return b"".join(
        (
            HEADER.pack(PLAIN if teaching.states is None else WITH_STATES, width, len(rest)),
            kept.sum(-1).astype("<u2").tobytes(),
            ids.astype(f"<u{width}").tobytes(),
            logs.astype("<f2").tobytes(),
            b"" if teaching.states is None else teaching.states.astype("<f2").tobytes(),
        )
    )


def unpack(content: bytes) -> Teaching:
    """The teaching in `content`, its probabilities made to sum to one again. Raises DataError for other bytes."""
    version, width, rows = HEADER.unpack_from(content)
    counts = np.frombuffer(content, "<u2", rows, HEADER.size).astype(np.int64)
    start, total = HEADER.size + 2 * rows, int(counts.sum())
    end = start + total * (width + 2) + 2 * rows
    if not _is_whole(version, len(content) - end, rows):
        raise DataError("An entry of the teacher cache is damaged.", "Forget this teacher's entries and ask it again.")
    flat = np.frombuffer(content, f"<u{width}", total, start)
    values = np.exp(np.frombuffer(content, "<f2", total + rows, start + total * width).astype(np.float32))
    kept = np.arange(max(1, int(counts.max(initial=1)))) < counts[:, None]
    ids, probabilities = np.zeros(kept.shape, np.int32), np.zeros(kept.shape, np.float32)
    ids[kept], probabilities[kept] = flat, values[:total]
    rest: NDArray[np.float32] = values[total:]
    whole = probabilities.sum(-1) + rest
    states = np.frombuffer(content, "<f2", offset=end).reshape(rows, -1) if version == WITH_STATES else None
    return Teaching(ids, probabilities / whole[:, None], rest / whole, states=states)


def _is_whole(version: int, left: int, rows: int) -> bool:
    """Whether what is left after the probabilities is what the version says: nothing, or states of equal width."""
    if version == PLAIN:
        return left == 0
    return version == WITH_STATES and rows > 0 and left > 0 and left % (2 * rows) == 0
