"""Rows whose own text holds a special token of the base model, which would end or forge a turn: found all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from outcrop.core.errors import DataError
from outcrop.data.records import Origin, Record
from outcrop.models.rendering import Renderer

NAMED_PLACES = 5


class Sifted(NamedTuple):
    """The parts without the rows that hold special tokens; where those stand, and which tokens they hold, in words."""

    parts: list[list[Record]]
    left_out: list[Origin]
    account: str


def sift(renderers: Sequence[Renderer], parts: Sequence[Sequence[Record]], *, drop: bool) -> Sifted:
    """Leave out, in every part, the rows with a special token of any of the renderers.

    drop: whether rows may be left out at all; otherwise DataError names every token, its rows, and the first places.
    """
    places: dict[str, list[Origin]] = {}
    left_out: list[Origin] = []
    kept: list[list[Record]] = []
    for records in parts:
        kept.append([])
        for record in records:
            found = {token for renderer in renderers for token in renderer.special_tokens_in(record)}
            for token in sorted(found):
                places.setdefault(token, []).append(record.origin)
            if found:
                left_out.append(record.origin)
            else:
                kept[-1].append(record)
    account = _account(places, len(left_out), sum(map(len, parts)))
    if left_out and not drop:
        raise DataError(
            account,
            "Remove the tokens or write them another way, because each would end or forge a turn; "
            "or leave these rows out, counted: --drop-bad-rows.",
        )
    return Sifted(kept, left_out, account)


def _account(places: dict[str, list[Origin]], rows: int, total: int) -> str:
    if not places:
        return ""
    by_token = sorted(places.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    named = "; ".join(f"{token!r} in {len(origins):,} ({_first(origins)})" for token, origins in by_token)
    verb = "row contains" if rows == 1 else "rows contain"
    return f"{rows:,} of {total:,} {verb} special tokens of the base model: {named}."


def _first(origins: Sequence[Origin]) -> str:
    more = len(origins) - NAMED_PLACES
    return ", ".join(map(str, origins[:NAMED_PLACES])) + (f" and {more:,} more" if more > 0 else "")
