"""Rows longer than the model's context: refused, dropped, or cut where it costs least, and always counted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from outcrop.core.errors import DataError
from outcrop.data.records import Conversation, Message, Pair, Record, answer_text
from outcrop.models.rendering import Rendered, Renderer

NAMED_ROWS = 5
REMEDY = "Say what to do with them: --over-long cut-prompt (the answer is never cut) or --over-long drop."


@dataclass(frozen=True)
class Fitted:
    """Rows that fit, as records and as what they render to. cut: rows whose prompt was shortened; answers_left_out:
    trained answers of early exchanges that went with it; dropped: rows that could not be shortened, or were not to be.
    """

    records: list[Record]
    rows: list[Rendered]
    cut: int = 0
    answers_left_out: int = 0
    dropped: int = 0

    @property
    def account(self) -> str:
        """What was done to over-long rows, in words; empty where there were none."""
        earlier = f" ({self.answers_left_out} answers of early turns with them)" if self.answers_left_out else ""
        cut = f"{self.cut} {'prompt is' if self.cut == 1 else 'prompts are'} cut at the start{earlier}"
        dropped = f"{self.dropped} {'row is' if self.dropped == 1 else 'rows are'} left out"
        return " and ".join(done for done, count in ((cut, self.cut), (dropped, self.dropped)) if count)


def fit(renderer: Renderer, records: Sequence[Record], max_length: int, over_long: str) -> Fitted:
    """Render the records in at most max_length tokens each.

    over_long: "refuse", "drop", or "cut-prompt": a conversation loses its oldest exchanges, then the last prompt its
    beginning; begin token, system message, turn headers and the last answer stay whole.
    Raises DataError naming the over-long rows if they are to be refused.
    """
    rendered = [renderer.render(record) for record in records]
    sizes = [len(row.token_ids) for row in rendered]
    if over_long == "refuse":
        _refuse(records, sizes, max_length, f"rows are longer than {max_length} tokens", REMEDY)
    kept: list[tuple[Record, Rendered]] = []
    cut = left_out = 0
    for record, row in zip(records, rendered, strict=True):
        if len(row.token_ids) <= max_length:
            kept.append((record, row))
            continue
        shorter = _shortened(record, lambda tried: len(renderer.render(tried).token_ids) <= max_length, over_long)
        if shorter is not None:
            kept.append((shorter, renderer.render(shorter)))
            cut += 1
            left_out += _answers(record) - _answers(shorter)
    return Fitted([record for record, _ in kept], [row for _, row in kept], cut, left_out, len(records) - len(kept))


def fit_prompts(
    renderer: Renderer,
    records: Sequence[Record],
    context: int,
    answer_tokens: int | None,
    over_long: str,
    remedy: str = REMEDY,
) -> Fitted:
    """The records, none of them rendered, whose prompts leave room for an answer in the context.

    answer_tokens: of the longest answer that may be given; None: the record's own answer must have room.
    over_long: as for `fit`. Raises DataError with the remedy, naming the others, if they are to be refused.
    """

    def size(record: Record) -> int:
        own = answer_tokens is None
        answer = len(renderer.answer(record, answer_text(record))) if own else answer_tokens or 0
        return len(renderer.prompt(record)) + answer

    sizes = [size(record) for record in records]
    if over_long == "refuse":
        what = f"prompts leave no room for an answer in the context of {context} tokens"
        _refuse(records, sizes, context, what, remedy)
    kept: list[Record] = []
    cut = 0
    for record, length in zip(records, sizes, strict=True):
        fitting: Record | None = record
        if length > context:
            fitting = _shortened(record, lambda tried: size(tried) <= context, over_long)
            cut += fitting is not None
        kept += [fitting] if fitting is not None else []
    return Fitted(kept, [], cut, 0, len(records) - len(kept))


def _refuse(records: Sequence[Record], sizes: Sequence[int], limit: int, what: str, remedy: str) -> None:
    """Raise DataError for rows over the limit."""
    long = [record for record, size in zip(records, sizes, strict=True) if size > limit]
    if long:
        places = ", ".join(str(record.origin) for record in long[:NAMED_ROWS])
        more = " and others" if len(long) > NAMED_ROWS else ""
        raise DataError(f"{len(long)} of {len(records)} {what} (longest {max(sizes)}): {places}{more}.", remedy)


def _shortened(record: Record, fits: Callable[[Record], bool], over_long: str) -> Record | None:
    """The record with as much of its prompt as fits, or None where not even one character of it does, or where rows
    are to be dropped."""
    if over_long != "cut-prompt":
        return None
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
