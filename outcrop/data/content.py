"""Checks of one record's texts: control tokens, personal data, leaks of the prompt, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from outcrop.data import pii
from outcrop.data.problems import Site
from outcrop.data.records import Record, Text, answer_text, parts

CONTROL_TOKENS = re.compile(
    r"<\|[A-Za-z][\w ]{1,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk)>"
)
"""Control tokens of common chat templates, whatever the base model."""

SHORTEST_LEAK = 30
"""Characters of a prompt below which its occurrence in the answer may be chance."""


def check_tokens(record: Record, special_tokens: Sequence[str], site: Site) -> None:
    """Report control tokens inside texts, those of common templates and those given."""
    for part in parts(record):
        found = CONTROL_TOKENS.search(part.text)
        token = found.group() if found else next((token for token in special_tokens if token in part.text), None)
        if token is not None:
            site.add("special-token", f"the text contains {token}", part.field)


def check_personal(record: Record, site: Site) -> None:
    """Report personal data and secrets, without repeating them."""
    for part in parts(record):
        for code, count in Counter(finding.code for finding in pii.find(part.text)).items():
            site.add(code, f"{count} found" if count > 1 else "found", part.field)


def check_answer(record: Record, site: Site) -> None:
    """Report an answer that is the prompt or contains the whole of it."""
    answer = answer_text(record).strip()
    if not answer:
        return
    asked, answered = parts(record)[-2:]
    prompt = asked.text.strip()
    if answer == prompt:
        site.add("answer-is-prompt", "the same text as the prompt", answered.field)
    elif len(prompt) >= SHORTEST_LEAK and prompt in answer:
        site.add("prompt-leak", f"the {len(prompt):,} characters of the prompt stand in the answer", answered.field)


def check_length(record: Record, limit: int, unit: str, count: Callable[[str], int], site: Site) -> None:
    """Report a record longer than `limit`, and which part a cut at the end would take. Texts are never too long."""
    if isinstance(record, Text):
        return
    named = parts(record)
    sizes = [count(part.text) for part in named]
    total, answer = sum(sizes), sizes[-1] if answer_text(record) else 0
    if total <= limit:
        return
    if total - answer >= limit:
        message = f"{total - answer:,} {unit} before the answer, limit {limit:,}"
        longest = max(range(len(named) - bool(answer)), key=lambda index: sizes[index])
        site.add("completion-cut", message, named[longest].field)
    else:
        message = f"{total:,} {unit}, limit {limit:,}: the last {total - limit:,} of {answer:,} would be cut"
        site.add("over-long", message, named[-1].field)
