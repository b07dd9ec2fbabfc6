"""Values that were found somewhere in a record, found at the other places where they stand in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from outcrop.data.anonymise.findings import Finding

TOKEN = re.compile(r"\w+|[^\w\s]")


class Value(NamedTuple):
    """A value in small letters (casefolded), its type and how sure it is."""

    text: str
    type: str
    score: float


def repeated(text: str, values: Sequence[Value]) -> Iterator[Finding]:
    """Every place where a value stands as whole words, whatever its capitals; names need one unless the text has none.

    Values are looked up by their first word, so that a document with thousands of them takes no longer per word.
    """
    by_first: dict[str, list[Value]] = defaultdict(list)
    for value in sorted(values, key=lambda each: (-len(each.text), each.text)):
        if first := TOKEN.match(value.text):
            by_first[first.group()].append(value)
    small = text.islower()
    position = 0
    for token in TOKEN.finditer(text):
        start = token.start()
        if start < position:
            continue
        for value in by_first.get(token.group().casefold(), ()):
            end = start + len(value.text)
            whole = text[start:end].casefold() == value.text and not (
                text[end : end + 1].isalnum() and value.text[-1].isalnum()
            )
            if whole and (value.type != "name" or small or text[start].isupper()):
                yield Finding(value.type, start, end, value.score, "record:repeated")
                position = end
                break
