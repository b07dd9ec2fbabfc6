"""Numeric match for word problems, after GSM8K (Cobbe et al. 2021, arXiv 2110.14168) and lm-eval's two readings of it.

Numbers compare by value (18.00 is 18), where lm-eval compares their characters.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from outcrop.core.errors import DataError
from outcrop.evaluation.metrics.metric import Example, ExampleMetric

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_NUMBERS = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_NUMBER = re.compile(r"-?[$0-9.,]+")


def parse_number(text: str) -> Decimal | None:
    """The value of one written number; thousands separators, dollar signs and final stops are ignored."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    try:
        return Decimal(text.strip().replace(",", "").replace("$", "").rstrip("."))
    except InvalidOperation:
        return None


def marked_number(text: str) -> Decimal | None:
    """The number after the first "#### ", GSM8K's final-answer mark."""
    found = _MARKED.search(text)
    return parse_number(found[1]) if found else None


def last_number(text: str) -> Decimal | None:
    """The last thing in the text that reads as a number."""
    values = (parse_number(found) for found in reversed(_NUMBERS.findall(text)))
    return next((value for value in values if value is not None), None)


def is_numeric(reference: str) -> bool:
    """Whether a reference is a number, or ends in a marked one."""
    return marked_number(reference) is not None or parse_number(reference) is not None


def right_values(example: Example) -> set[Decimal]:
    """The values of the references. Raises DataError for a reference without a number."""
    values = set()
    for reference in example.references:
        value = marked_number(reference) if "#### " in reference else last_number(reference)
        if value is None:
            raise DataError(f"The reference {reference!r:.80} has no number.", "Choose another metric for these rows.")
        values.add(value)
    return values


def score(example: Example) -> float:
    """1 where the last number of the answer has the value of a reference."""
    return float(last_number(example.answer) in right_values(example))


METRIC = ExampleMetric(
    name="numeric_match", title="Numeric match (last number)", source="GSM8K, lm-eval flexible-extract, by value",
    binary=True, score=score,
)
