"""Checks of one record's texts, the last of which is its answer: control tokens, personal data, leaks, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from outcrop.data.anonymise import patterns
from outcrop.data.problems import Site
from outcrop.data.records import Part

CONTROL_TOKENS = re.compile(
    r"<\|[A-Za-z][\w ]{1,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk)>"
)
"""Control tokens of common chat templates, whatever the base model."""

PERSONAL = {
    "pattern:email": "pii-email",
    "pattern:spoken-email": "pii-email",
    "pattern:phone": "pii-phone",
    "pattern:card": "pii-card",
    "pattern:iban": "pii-iban",
    "pattern:aws-key": "secret-aws-key",
    "pattern:private-key": "secret-private-key",
    "pattern:jwt": "secret-jwt",
}
"""The rule that found something → the defect that it is."""

SHORTEST_LEAK = 30
"""Characters of a prompt below which its occurrence in the answer may be chance."""


def check_tokens(named: Sequence[Part], special_tokens: Sequence[str], site: Site) -> None:
    """Report control tokens inside texts, those of common templates and those given."""
    for part in named:
        found = CONTROL_TOKENS.search(part.text)
        token = found.group() if found else next((token for token in special_tokens if token in part.text), None)
        if token is not None:
            site.add("special-token", f"the text contains {token}", part.field)


def check_personal(named: Sequence[Part], site: Site) -> None:
    """Report personal data and secrets, without repeating them."""
    for part in named:
        for rule, count in Counter(finding.recogniser for finding in patterns.find(part.text)).items():
            site.add(PERSONAL[rule], f"{count} found" if count > 1 else "found", part.field)


def check_answer(named: Sequence[Part], site: Site) -> None:
    """Report an answer that is the prompt or contains the whole of it."""
    if len(named) < 2:
        return
    asked, answered = named[-2:]
    prompt, answer = asked.text.strip(), answered.text.strip()
    if answer == prompt:
        site.add("answer-is-prompt", "the same text as the prompt", answered.field)
    elif len(prompt) >= SHORTEST_LEAK and prompt in answer:
        site.add("prompt-leak", f"the {len(prompt):,} characters of the prompt stand in the answer", answered.field)


def check_length(named: Sequence[Part], limit: int, unit: str, count: Callable[[str], int], site: Site) -> None:
    """Report a record longer than `limit`, and what a cut at its end would take. A single text may have any length."""
    if len(named) < 2:
        return
    sizes = [count(part.text) for part in named]
    total, answer = sum(sizes), sizes[-1]
    if total <= limit:
        return
    if total - answer >= limit:
        longest = max(range(len(named) - 1), key=lambda index: sizes[index])
        site.add(
            "completion-cut", f"{total - answer:,} {unit} before the answer, limit {limit:,}", named[longest].field
        )
    else:
        message = f"{total:,} {unit}, limit {limit:,}: the last {total - limit:,} of {answer:,} would be cut"
        site.add("over-long", message, named[-1].field)
