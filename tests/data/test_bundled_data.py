"""The bundled data set is what its recipe writes and what its card says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

BUNDLED = Path(str(files("outcrop"))) / "data" / "bundled"
DATA = BUNDLED / "support-requests.jsonl"
CARD = BUNDLED / "README.md"
RECIPE = Path(__file__).parents[2] / "recipes" / "support-requests"
NEAR = 0.85
CONTACT = r"[\w.]+@example\.(?:com|org|net)|555[ -]01\d\d"
SHAPES = {
    "contact details": CONTACT,
    "mojibake": "â€™|Â£",
    "CR LF": r"\r\n",
    "double space": r"\S {2,}\S",
    "trailing space": r"\S\s+$",
    "HTML entity": r"&(?:amp|quot|#39);",
    "line separator": "\u2028",
}

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The lines of the file, split at line feeds alone: one message holds U+2028."""
    return [json.loads(line) for line in DATA.read_bytes().decode().split("\n")[:-1]]


@pytest.fixture(scope="module")
def usable(rows: list[Row]) -> list[Row]:
    """The rows that have both a message and a label."""
    return [row for row in rows if row["message"].strip() and row["intent"]]


def card_table(heading: str) -> dict[str, int]:
    """First column → first whole number of each line of the card's table below a heading."""
    section = CARD.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `?([^|`]+?)`? \| ([\d,]+) \|", section, flags=re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in found}


def intent_of(row: Row) -> str:
    return str(row["intent"]).strip().lower().replace(" ", "_")


def grams(text: str) -> frozenset[str]:
    plain = " ".join(text.lower().split())
    return frozenset(plain[i : i + 5] for i in range(max(1, len(plain) - 4)))


def near_pairs(texts: list[str], near: float = NEAR) -> list[tuple[str, str]]:
    """Pairs of texts with Jaccard ≥ near: two such sets share a gram among the rarest (1 - near) of either."""
    sets = [grams(text) for text in texts]
    frequency = Counter(gram for own in sets for gram in own)
    holders: dict[str, list[int]] = defaultdict(list)
    found = []
    for place, own in enumerate(sets):
        rarest = sorted(own, key=lambda gram: (frequency[gram], gram))[: int((1 - near) * len(own)) + 1]
        others = sorted({held for gram in rarest for held in holders[gram]})
        close = [other for other in others if len(own & sets[other]) >= near * len(own | sets[other])]
        found += [(texts[other], texts[place]) for other in close]
        for gram in rarest:
            holders[gram].append(place)
    return found


def measured(rows: list[Row], usable: list[Row]) -> dict[str, int]:
    """Every kind of dirt counted from the file alone."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in usable:
        labels[row["message"]].append(intent_of(row))
    counts = {
        "exact duplicate": sum(len(found) - len(set(found)) for found in labels.values()),
        "near duplicate": len(near_pairs(list(labels))),
        "conflicting labels": sum(len(set(found)) > 1 for found in labels.values()),
        "label variant": sum(row["intent"] != intent_of(row) for row in usable),
        "empty message": sum(not row["message"].strip() for row in rows),
        "null label": sum(row["intent"] is None for row in rows),
    }
    shapes = {name: sum(bool(re.search(shape, row["message"])) for row in rows) for name, shape in SHAPES.items()}
    return counts | shapes


def test_recipe_writes_the_committed_bytes(tmp_path: Path) -> None:
    target = tmp_path / "again.jsonl"
    subprocess.run([sys.executable, str(RECIPE / "make.py"), "--to", str(target)], check=True, capture_output=True)
    assert target.read_bytes() == DATA.read_bytes()


def test_every_row_has_the_four_fields(rows: list[Row]) -> None:
    assert 1800 <= len(rows) <= 2400
    assert [row["id"] for row in rows] == [f"req-{number:04}" for number in range(1, len(rows) + 1)]
    assert {tuple(row) for row in rows} == {("id", "channel", "message", "intent")}
    assert {row["channel"] for row in rows} == {"email", "chat", "phone note"}


def test_card_names_every_intent_with_its_count(rows: list[Row]) -> None:
    counts = Counter(intent_of(row) for row in rows if row["intent"] is not None)
    assert 12 <= len(counts) <= 14
    assert dict(counts) == card_table("Labels")
    assert max(counts.values()) < 0.15 * len(rows)


def test_card_names_the_dirt_that_is_there(rows: list[Row], usable: list[Row]) -> None:
    assert measured(rows, usable) == card_table("Dirt planted on purpose")


def test_only_the_planted_near_duplicates_come_close(usable: list[Row]) -> None:
    pairs = near_pairs(sorted({row["message"] for row in usable}), near=0.7)
    assert len(pairs) == card_table("Dirt planted on purpose")["near duplicate"]


def test_near_pairs_finds_a_changed_word_and_leaves_other_texts_alone() -> None:
    text = "Where is my order 48213? It should be here by Friday and the shop said it was on the way."
    assert near_pairs([text, "I want to return the boots.", text.replace("shop", "Shop") + "!"]) == [
        (text, text.replace("shop", "Shop") + "!")
    ]


def test_messages_vary_in_length(usable: list[Row]) -> None:
    words = sorted(len(row["message"].split()) for row in usable)
    assert words[len(words) // 10] <= 9
    assert words[len(words) * 9 // 10] >= 28
    assert words[-1] <= 70


def test_contact_details_are_made_up(rows: list[Row]) -> None:
    for row in rows:
        rest = re.sub(CONTACT, "", row["message"])
        assert "@" not in rest, row["id"]
        assert not re.search(r"\d[\d ()-]{8,}\d", rest), row["id"]
