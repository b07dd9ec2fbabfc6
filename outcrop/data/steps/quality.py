"""Signs that an answer is bad: refusals, repetition, text that was cut off, broken JSON, listed words."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

CANNOT = r"(?:can(?:'|’)?t|cannot|am (?:not able|unable) to|(?:'|’)?m (?:not able|unable) to)"
REFUSAL = re.compile(
    r"^\W*(?:as an? (?:ai|artificial intelligence|large language model|language model)\b"
    rf"|i(?:(?:'|’)?m| am) (?:sorry|afraid),? (?:but )?(?:as an? (?:ai|language model)|i ?{CANNOT})"
    rf"|i {CANNOT} (?:assist|help|comply|fulfil|provide|answer|do that)"
    r"|(?:my|the) (?:training data|knowledge) (?:only )?(?:goes|extends|ends|was))",
    re.IGNORECASE,
)
"""Boilerplate of assistants, at the beginning of an answer."""

CUT_MARK = re.compile(
    r"(?:\[(?:truncated|cut off|continued|\.\.\.|…)\]|<\|?(?:truncated|endoftext|im_end|eot_id)\|?>|"
    r"\((?:continued|truncated|to be continued)\)|(?:^|\s)max(?:imum)?[ _](?:tokens|length)(?: reached)?)\W*$",
    re.IGNORECASE,
)
OPEN_END = re.compile(
    r"(?:[,;:(\[{]|\b(?:and|or|the|a|an|of|to|with|for|in|that|which|is|are|because))$", re.IGNORECASE
)
LONG_ANSWER = 200
"""Characters from which an answer that stops in the middle of a sentence was probably cut."""

REPEATED_WORDS = 4
FEWEST_GROUPS = 20
JSON_BEGIN = re.compile(r'^\s*(?:\{\s*(?:"|\}|$)|\[\s*(?:[\[{"\d\]tfn-]|$))')


def is_refusal(answer: str) -> bool:
    """Whether an answer begins with an assistant's refusal or disclaimer."""
    return REFUSAL.match(answer[:300]) is not None


def is_cut_off(answer: str) -> bool:
    """Whether an answer ends in a mark of truncation, in an open code fence, or, if it is long, inside a sentence."""
    text = answer.rstrip()
    if CUT_MARK.search(text[-80:]) or text.count("```") % 2:
        return True
    return len(text) >= LONG_ANSWER and OPEN_END.search(text[-20:]) is not None


def repetition(text: str) -> float:
    """The share of a text's groups of four words that occurred in it before; 0 for texts of few words."""
    words = text.lower().split()
    groups = len(words) - REPEATED_WORDS + 1
    if groups < FEWEST_GROUPS:
        return 0.0
    return 1 - len({tuple(words[start : start + REPEATED_WORDS]) for start in range(groups)}) / groups


def is_broken_json(answer: str) -> bool:
    """Whether an answer begins like JSON and is none."""
    if not JSON_BEGIN.match(answer):
        return False
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return True
    return False


@cache
def listed_words(path: str = "") -> re.Pattern[str]:
    """A pattern for the words of a list: a text file with one per line, or ours where no path is given."""
    if path:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  the path is a parameter's text
            words: Iterable[str] = file.read().split("\n")
    else:
        words = tomllib.loads(files(__package__).joinpath("profanity.toml").read_text("utf-8"))["words"]
    ordered = sorted({word.strip().lower() for word in words if word.strip()}, key=lambda word: (-len(word), word))
    return re.compile(r"\b(?:" + "|".join(map(re.escape, ordered)) + r")\b", re.IGNORECASE)


def find_listed(text: str, pattern: re.Pattern[str]) -> Counter[str]:
    """The listed words of a text with their numbers."""
    return Counter(match.group().lower() for match in pattern.finditer(text))
