"""Rows longer than the model's context: refused, dropped, or cut where it costs least, and always counted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from outcrop.core.errors import DataError
from outcrop.data.records import Conversation, Message, Pair, Record
from outcrop.models.rendering import Rendered, Renderer

NAMED_ROWS = 5


@dataclass(frozen=True)
class Fitted:
    """Rows that fit. cut: rows whose prompt was shortened; answers_left_out: trained answers of early exchanges that
    went with it; dropped: rows that could not be shortened, or were not to be."""

    rows: list[Rendered]
    cut: int = 0
    answers_left_out: int = 0
    dropped: int = 0


def fit(renderer: Renderer, records: Sequence[Record], max_length: int, over_long: str) -> Fitted:
    """Render the records in at most max_length tokens each.

    over_long: "refuse", "drop", or "cut-prompt": a conversation loses its oldest exchanges, then the last prompt its
    beginning; begin token, system message, turn headers and the last answer stay whole.
    Raises DataError naming the over-long rows if they are to be refused.
    """
    rendered = [renderer.render(record) for record in records]
    long = [row for row in rendered if len(row.token_ids) > max_length]
    if long and over_long == "refuse":
        longest = max(len(row.token_ids) for row in long)
        places = ", ".join(str(row.origin) for row in long[:NAMED_ROWS])
        more = " and others" if len(long) > NAMED_ROWS else ""
        raise DataError(
            f"{len(long)} of {len(records)} rows are longer than {max_length} tokens (longest {longest}): "
            f"{places}{more}.",
            "Say what to do with them: --over-long cut-prompt (the answer is never cut) or --over-long drop.",
        )
    rows: list[Rendered] = []
    cut = left_out = 0
    for record, row in zip(records, rendered, strict=True):
        if len(row.token_ids) <= max_length:
            rows.append(row)
            continue
        shorter = _shortened(renderer, record, max_length) if over_long == "cut-prompt" else None
        if shorter is not None:
            rows.append(renderer.render(shorter))
            cut += 1
            left_out += _answers(record) - _answers(shorter)
    return Fitted(rows, cut, left_out, len(records) - len(rows))


def _shortened(renderer: Renderer, record: Record, max_length: int) -> Record | None:
    """The record with as much of its prompt as fits, or None where not even one character of it does."""

    def fits(candidate: Record) -> bool:
        return len(renderer.render(candidate).token_ids) <= max_length

    if isinstance(record, Pair):
        return _longest(record.prompt, lambda prompt: replace(record, prompt=prompt), fits)
    if not isinstance(record, Conversation):
        return None
    candidates = list(_without_oldest(record))
    first = bisect_left(candidates, True, key=fits)
    if first < len(candidates):
        return candidates[first]
    shorter = candidates[-1] if candidates else record
    asked = max((at for at, turn in enumerate(shorter.messages) if turn.role == "user"), default=None)
    if asked is None:
        return None

    def with_prompt(text: str) -> Record:
        turns = shorter.messages
        return replace(shorter, messages=(*turns[:asked], Message("user", text), *turns[asked + 1 :]))

    return _longest(shorter.messages[asked].content, with_prompt, fits)


def _without_oldest(record: Conversation) -> Iterator[Conversation]:
    """The conversation less its first exchange, its first two, …, as long as a trained answer is left."""
    system = tuple(turn for turn in record.messages[:1] if turn.role == "system")
    starts = [at for at, turn in enumerate(record.messages) if turn.role == "user"]
    for start in starts[1:]:
        shorter = replace(record, messages=(*system, *record.messages[start:]))
        if _answers(shorter):
            yield shorter


def _longest(text: str, build: Callable[[str], Record], fits: Callable[[Record], bool]) -> Record | None:
    """The record with the longest end of `text` that fits, by bisection; None where one character is too much."""
    starts = range(1, len(text))
    first = bisect_left(starts, True, key=lambda start: fits(build(text[start:])))
    return build(text[starts[first] :]) if first < len(starts) else None


def _answers(record: Record) -> int:
    """How many answers of a record are trained."""
    if isinstance(record, Conversation):
        return sum(1 for turn in record.messages if turn.role == "assistant" and turn.weight)
    return 1
