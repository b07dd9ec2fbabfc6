"""The language of a text, by script and by frequent words; only said where it is plain, so short rows have none."""

from __future__ import annotations

import re
from collections import Counter

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
    "German": "der und das zu mit sich auf für ist im dem nicht ein eine als auch es werden aus ich sie von bei oder",
    "French": "le la les et est en une du que qui dans pour sur pas par avec sont je vous nous il ce cette au aux",
    "Spanish": "el los las y que en una es por para del se su lo más pero sus le ya este porque como muy hay fue",
    "Italian": "il di che la una sono del da dei nel alla anche più della gli lo ma questo non nella delle un e è",
    "Portuguese": "que e da para é com não uma na por mais dos foi ao ele das tem seu sua você são pela muito isso",
    "Dutch": "de het een en ik te dat niet zijn op aan met voor er maar om dan ook wel als naar wat deze bij",
}
"""Without words that are frequent in English too, such as "do", "no", "die"."""

LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in FREQUENT_WORDS.items():
    for _word in _words.split():
        LANGUAGES_OF.setdefault(_word, []).append(_language)

WORD = re.compile(r"[^\W\d_]+")
LATIN_LETTER = re.compile("[A-Za-z\u00c0-\u024f]")
READ_CHARACTERS = 1000
FEWEST_WORDS = 4
"""Different frequent words of a language that a text must have to be in it."""

CLEAR_LEAD = 1.5
"""The first language must have so many times the frequent words of the second."""


def language(text: str) -> str | None:
    """The language or script of a text; None where it is too short or not clear."""
    beginning = text[:READ_CHARACTERS]
    if not beginning.isascii() and (script := _script(beginning)):
        return script
    words = Counter(WORD.findall(beginning.lower()))
    hits: Counter[str] = Counter()
    different: Counter[str] = Counter()
    for word in words.keys() & LANGUAGES_OF.keys():
        for name in LANGUAGES_OF[word]:
            hits[name] += words[word]
            different[name] += 1
    ranked = hits.most_common(2)
    if not ranked or different[ranked[0][0]] < FEWEST_WORDS:
        return None
    return ranked[0][0] if len(ranked) == 1 or ranked[0][1] >= CLEAR_LEAD * ranked[1][1] else None


def _script(text: str) -> str | None:
    """The script of most letters, if it is not Latin."""
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    if counts["Japanese"] * 10 > counts["Chinese"]:  # Japanese is written with Chinese characters too
        counts["Japanese"] += counts.pop("Chinese")
    name = max(counts, key=lambda script: counts[script])
    return name if counts[name] > max(3, len(LATIN_LETTER.findall(text))) else None
