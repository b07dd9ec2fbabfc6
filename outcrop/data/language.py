"""The language of a text, by script and by frequent words; only said where it is plain, so short rows have none."""

from __future__ import annotations

import re

SCRIPTS = {
    "Cyrillic": re.compile("[\u0400-\u052f]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Arabic": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "Devanagari": re.compile("[\u0900-\u097f]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Korean": re.compile("[\uac00-\ud7af]"),
    "Chinese": re.compile("[\u4e00-\u9fff]"),
}
FREQUENT_WORDS = {
    "English": "the of and to in is that it for was on are with as this have from or had but not what they your how",
    "German": "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er ich",
    "French": "le la les et des est en une du que qui dans pour sur pas plus par avec sont je vous nous il ce",
    "Spanish": "el los las y que en un una es por con para del se no su al lo como más pero le ya o este sí porque",
    "Italian": "il di che la e un per non una sono del con si da come le dei nel alla anche più della gli lo ma questo",
    "Portuguese": "o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao das tem",
    "Dutch": "de het een en van ik te dat die in is niet zijn op aan met voor er maar om dan ook wel als kan naar wat",
}
STOP_WORDS = {language: frozenset(words.split()) for language, words in FREQUENT_WORDS.items()}
WORD = re.compile(r"[^\W\d_]+")
LATIN_LETTER = re.compile("[A-Za-z\u00c0-\u024f]")
READ_CHARACTERS = 1000
FEWEST_HITS = 4
CLEAR_LEAD = 1.5
"""The first language must have so many times the frequent words of the second."""


def language(text: str) -> str | None:
    """The language or script of a text; None where it is too short or not clear."""
    beginning = text[:READ_CHARACTERS]
    if not beginning.isascii() and (script := _script(beginning)):
        return script
    words = WORD.findall(beginning.lower())
    hits = sorted(
        ((sum(word in frequent for word in words), name) for name, frequent in STOP_WORDS.items()), reverse=True
    )
    (most, name), (second, _) = hits[:2]
    return name if most >= FEWEST_HITS and most >= CLEAR_LEAD * second else None


def _script(text: str) -> str | None:
    """The script of most letters, if it is not Latin."""
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    if counts["Japanese"] * 10 > counts["Chinese"]:  # Japanese is written with Chinese characters too
        counts["Japanese"] += counts.pop("Chinese")
    name = max(counts, key=lambda script: counts[script])
    return name if counts[name] > max(3, len(LATIN_LETTER.findall(text))) else None
