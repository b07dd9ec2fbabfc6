"""Instructions for the second stage: rows of the mixture and of P3 as conversations and as plain prompts, general text.

    python recipes/pebble/instructions.py ../shared/data/instructions out-pebble/corpus out-pebble/instructions

Writes text.jsonl.gz (for pre-training), chat.jsonl.gz (Bedrock messages), plain.jsonl.gz (prompt, completion),
shots.jsonl.gz (the same after worked examples), general.jsonl.gz and more-general.jsonl.gz (of general text),
validation.jsonl.gz, held-back/FAMILY.jsonl.gz and examples/FAMILY.jsonl.gz. Banking77 and CLINC150 are left out, so
that tuning on them says what tuning does.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from outcrop.core.files import write_json
from outcrop.data.neighbours import clusters

LEFT_OUT = {"banking77", "clinc150"}
MOST_CHARACTERS = 2600
"""Of prompt and answer together: about 650 tokens."""

END_MARK = "<|endoftext|>"
"""Stands at the end of P3's answers: a mark between documents in pre-training, no part of an answer in the second."""

MOST_ROWS = {"mixture": 3000, "p3": 100}
"""Of one source of the mixture, and of one template of P3."""

HELD_BACK = 150
"""Rows of each family of the mixture at most, by clusters of near-duplicates."""

WATCHED, EXAMPLES = 20, 500
"""How many of the held-back rows are watched during training; how many trained rows of a family may be worked examples
and say which answer is the commonest."""

LAYOUTS = ("{instruction}\n\n{input}\n", "{instruction}\nInput: {input}\nOutput:", "{input}\n{instruction}\nAnswer:")
PASSAGES, MORE_PASSAGES, PASSAGE = 2000, 12000, 700
"""How many passages of general text keep what was learnt from it, how many more the large model sees, and their length
in characters at most."""

SHOTS, SHOT_ROWS = 8, 600
"""Worked examples before a prompt at most, and how many rows of a family of the mixture have some."""

Row = dict[str, Any]


def rows_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of all files of a folder, in order."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def mixture(folder: Path) -> Iterator[Row]:
    """family, kind, instruction, input, answer."""
    for row in rows_of(folder):
        if row["source"] not in LEFT_OUT:
            family = f"{row['task']}-{row['source']}"
            yield {"family": family, "kind": "mixture", "answer": row["output"].strip(),
                   "instruction": row["instruction"].strip(), "input": row["input"].strip()}  # fmt: skip


def p3(folder: Path) -> Iterator[Row]:
    """The same of P3, whose prompts are whole."""
    for row in rows_of(folder):
        yield {"family": row["template"], "kind": "p3", "instruction": row["prompt"].strip(), "input": "",
               "answer": row["completion"].strip()}  # fmt: skip


def prompt(row: Row, layout: str = "{instruction}\n\n{input}") -> str:
    """Instruction and input as one text."""
    return layout.format(**row).strip("\n") if row["input"] else row["instruction"]


def draw(text: str) -> int:
    """A number that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def chosen(rows: Iterable[Row], counts: Counter[str]) -> list[Row]:
    """Rows that are neither empty, too long nor repeated, at most so many of a family, drawn by hash."""
    families: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        text = prompt(row)
        if not row["answer"] or not text:
            counts["empty"] += 1
        elif len(text) + len(row["answer"]) > MOST_CHARACTERS:
            counts["too long"] += 1
        elif text in families[row["family"]]:
            counts["repeated prompt"] += 1
        else:
            families[row["family"]][text] = row
    kept = []
    for found in families.values():
        drawn = sorted(found, key=draw)
        most = MOST_ROWS[found[drawn[0]]["kind"]]
        counts["beyond the most rows of a family"] += max(0, len(drawn) - most)
        kept += [found[text] for text in drawn[:most]]
    return kept


def hold_back(rows: list[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Rows to train on, and rows of the mixture by family none of whose near-duplicates trains."""
    first = clusters([prompt(row, "{input}") if row["input"] else prompt(row) for row in rows]).tolist()
    members: dict[int, list[int]] = defaultdict(list)
    for number, cluster in enumerate(first):
        members[cluster].append(number)
    held: dict[str, list[Row]] = defaultdict(list)
    away: set[int] = set()
    for cluster in sorted(members, key=lambda number: draw(prompt(rows[number]))):
        found = [rows[number] for number in members[cluster]]
        family = found[0]["family"]
        one_family = all(row["family"] == family and row["kind"] == "mixture" for row in found)
        if one_family and len(held[family]) + len(found) <= HELD_BACK:
            held[family] += found
            away.update(members[cluster])
    return [row for number, row in enumerate(rows) if number not in away], held


def passages(corpus: Path) -> Iterator[dict[str, str]]:
    """General text: the first paragraph that fits asks, what follows answers."""
    with gzip.open(corpus / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = sorted((json.loads(line)["text"] for line in lines), key=draw)
    made = 0
    for turn, text in ((turn, text) for turn in count() for text in texts):
        start = text.find("\n\n", draw(f"{turn} {text[:80]}") % max(1, len(text) - PASSAGE)) + 2
        piece = text[start : start + PASSAGE]
        cut, end = piece.find(" ", 80), piece.rfind("\n\n")
        if 0 < cut < end:
            made += 1
            yield {"prompt": piece[:cut], "completion": piece[cut:end]}
        if made == PASSAGES + MORE_PASSAGES:
            return


def answer(row: Row) -> str:
    """What is to be learnt in the second stage."""
    return str(row["answer"].removesuffix(END_MARK).strip())


def chat(row: Row) -> dict[str, Any]:
    """A conversation of one turn."""
    user, assistant = {"role": "user", "content": prompt(row)}, {"role": "assistant", "content": answer(row)}
    return {"messages": [user, assistant]}


def plain(row: Row, layout: str = "") -> dict[str, str]:
    """A pair, in the layout given or in one of three."""
    layout = layout or LAYOUTS[draw(row["answer"]) % len(LAYOUTS)]
    return {"prompt": prompt(row, layout), "completion": answer(row)}


def with_shots(rows: list[Row]) -> Iterator[dict[str, str]]:
    """Rows of the mixture after worked examples of their family, laid out as by `outcrop evaluate --shots`."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "mixture":
            families[row["family"]].append(row)
    for found in families.values():
        for number, row in enumerate(found[:SHOT_ROWS]):
            layout = LAYOUTS[draw(f"layout {prompt(row)}") % len(LAYOUTS)]
            chosen = [found[draw(f"{number} {turn} {prompt(row)}") % len(found)] for turn in range(1 + number % SHOTS)]
            worked = [" ".join(plain(shot, layout).values()) for shot in chosen if shot is not row]
            asked = plain(row, layout)
            while worked and sum(map(len, worked)) + len(asked["prompt"]) + len(asked["completion"]) > MOST_CHARACTERS:
                worked.pop()
            if worked:
                yield {**asked, "prompt": "\n\n".join([*worked, asked["prompt"]])}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        return sum(bool(file.write(json.dumps(row, ensure_ascii=False) + "\n")) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instructions", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("to", type=Path)
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    rows = chosen(mixture(given.instructions / "mixture"), counts)
    rows += chosen(p3(given.instructions / "p3-permissive"), counts)
    train, held = hold_back(rows)
    train.sort(key=lambda row: draw(prompt(row)))
    counts["text"] = write(given.to / "text.jsonl.gz", ({"text": f"{prompt(r)}\n\n{r['answer']}"} for r in train))
    asking = [row for row in train if answer(row)]
    counts["chat"] = write(given.to / "chat.jsonl.gz", (chat(r) for r in asking if draw(prompt(r)) % 2))
    counts["plain"] = write(given.to / "plain.jsonl.gz", (plain(r) for r in asking if not draw(prompt(r)) % 2))
    counts["shots"] = write(given.to / "shots.jsonl.gz", with_shots(asking))
    general = passages(given.corpus)
    counts["general"] = write(given.to / "general.jsonl.gz", islice(general, PASSAGES))
    counts["more general"] = write(given.to / "more-general.jsonl.gz", general)
    watched = [chat(row) for family in held.values() for row in family[:WATCHED]]
    counts["validation"] = write(given.to / "validation.jsonl.gz", watched)
    for family, found in held.items():
        asked = (plain(row, LAYOUTS[1]) for row in found[WATCHED:])
        counts[f"held back: {family}"] = write(given.to / "held-back" / f"{family}.jsonl.gz", asked)
        examples = [plain(row, LAYOUTS[1]) for row in train if row["family"] == family]
        write(given.to / "examples" / f"{family}.jsonl.gz", examples[:EXAMPLES])
    write_json(given.to / "counts.json", dict(counts))
    print(json.dumps(dict(counts), indent=1))


if __name__ == "__main__":
    main()
