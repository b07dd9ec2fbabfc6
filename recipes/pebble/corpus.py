"""Cleans the general texts, removes repeated ones and holds 1 % back.

    python recipes/pebble/corpus.py ../shared/data/corpora/general out-pebble/corpus

Writes train.jsonl.gz and held-back.jsonl.gz ({"text": …} per line) and counts.json, which says what was left out.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from outcrop.core.files import write_json
from outcrop.data.neighbours import clusters

HELD_BACK = 100
"""One document in so many, by a hash of its text."""

FEWEST_CHARACTERS = 200


def clean_book(text: str) -> str:
    """A chapter of classic-books: Windows line ends, spaces at line ends and runs of empty lines go."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def clean_story(text: str) -> str:
    """A picture book: the marks of pages and the credits at its end go, the title stays."""
    kept = [line for line in clean_book(text).split("\n") if line.strip() != "##" and not line.startswith("* ")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).removeprefix("# ").strip()


def clean_wikipedia(text: str) -> str:
    """An article of WikiText-2: paragraphs with <unk> go, and the spaces that its tokenisation put in are taken out."""
    kept = [line.strip() for line in text.split("\n") if line.strip() and "<unk>" not in line]
    joined = "\n\n".join(re.sub(r"^(= )+|( =)+$", "", line) for line in kept)
    joined = re.sub(r" @([-,.])@ ", r"\1", joined)
    joined = re.sub(r" ([,.;:!?)\]%]|'s\b|n't\b)", r"\1", joined)
    joined = re.sub(r"([(\[$£]) ", r"\1", joined)
    return re.sub(r'" ([^"\n]*) "', r'"\1"', joined)


CLEANERS = {"classic-books": clean_book, "wikitext-2": clean_wikipedia}


def documents(folder: Path) -> Iterator[tuple[str, str]]:
    """(source, cleaned text) of every document."""
    for path in sorted(folder.glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield row["source"], CLEANERS.get(row["source"], clean_story)(row["text"])


def held_back(text: str) -> bool:
    """Whether a document is among the 1 %."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELD_BACK == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("to", type=Path)
    given = parser.parse_args()
    found = list(documents(given.texts))
    first = clusters([text for _, text in found])
    given.to.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    files = {part: given.to / f"{part}.jsonl.gz" for part in ("train", "held-back")}
    with gzip.open(files["train"], "wt") as train, gzip.open(files["held-back"], "wt") as held:
        for number, (source, text) in enumerate(found):
            if first[number] != number:
                counts[f"{source}: repeated"] += 1
            elif len(text) < FEWEST_CHARACTERS:
                counts[f"{source}: too short"] += 1
            else:
                part, file = ("held back", held) if held_back(text) else ("train", train)
                counts[f"{source}: {part}"] += 1
                counts[f"{part}, bytes"] += len(text.encode())
                print(json.dumps({"text": text}, ensure_ascii=False), file=file)
    write_json(given.to / "counts.json", dict(sorted(counts.items())))
    print(json.dumps(dict(sorted(counts.items())), indent=1))


if __name__ == "__main__":
    main()
