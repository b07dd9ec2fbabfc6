"""What `outcrop data check`, the profile and the label model find in real sets; writes findings.md beside this file.

    python benchmarks/preparation/findings.py FOLDER      the folder of the developer data pack
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from outcrop.data.boilerplate import boilerplate
from outcrop.data.label_quality import find_doubtful_labels
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import read
from outcrop.data.records import Pair, answer_text
from outcrop.data.validation import check

MEDQUAD = ("qa/medquad/train.jsonl.gz", "prompt=question,completion=answer")
SETS = (
    ("slots/restaurant8k/train.jsonl.gz", "text=text"),
    ("text-to-sql/wikisql/train.jsonl.gz", "prompt=question,completion=sql"),
    ("intents/hwu64/train.jsonl.gz", "prompt=user_text,completion=label"),
    ("intents/hwu64/train.jsonl.gz", "prompt=text,completion=label"),
    MEDQUAD,
    ("intents/banking77/train.jsonl.gz", "prompt=text,completion=label"),
    ("intents/clinc150/train.jsonl.gz", "prompt=text,completion=label"),
    ("text-to-sql/advising/train.jsonl.gz", "prompt=question,completion=sql"),
    ("word-problems/gsm8k/train.jsonl.gz", "prompt=question,completion=answer"),
)
LABELLED = "intents/banking77/train.jsonl.gz"
WRONG_SHARE = 0.05
SHOWN = 3


def main() -> None:
    """Check every set, and write what was found."""
    folder = Path(sys.argv[1])
    lines = [
        "# Findings on real sets",
        "",
        "Written by `findings.py`. Places are the first ones of each kind.",
        "",
        "| set | rows | finding | rows with it | for instance |",
        "| --- | --- | --- | --- | --- |",
        *(line for name, columns in SETS for line in _findings(folder, name, columns)),
        "",
        "## Boilerplate of MedQuAD",
        "",
        *_boilerplate(folder),
        "",
        "## Wrong labels planted in Banking77",
        "",
        *_planted(folder),
        "",
    ]
    (Path(__file__).parent / "findings.md").write_text("\n".join(lines))


def _findings(folder: Path, name: str, columns: str) -> Iterator[str]:
    begun = time.perf_counter()
    result = check(folder / name, Mapping.from_text(columns, "", ""))
    print(f"{name}: {result.rows:,} rows in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    title = f"{name.partition('/train')[0]}, {columns}"
    if not result.problems:
        yield f"| {title} | {result.rows:,} | nothing | 0 | |"
    for group in result.problems.as_dict()["problems"]:
        places = "; ".join(
            f"{each['line']}: {_cell(each['message'].replace(f'{folder}/', ''))}" for each in group["examples"][:SHOWN]
        )
        yield f"| {title} | {result.rows:,} | `{group['code']}` | {group['count']:,} | {places} |"


def _boilerplate(folder: Path) -> Iterator[str]:
    rows = list(read(folder / MEDQUAD[0], Mapping.from_text(MEDQUAD[1], "", ""), problems=Problems()))
    found = boilerplate([answer_text(row) for row in rows])
    yield f"{found.sentences:,} sentences stand in many answers: in {found.rows:,} of {len(rows):,} rows, and they"
    yield f"make {found.characters:.1%} of all characters. The most frequent:"
    yield ""
    yield "| rows | sentence |"
    yield "| --- | --- |"
    for sentence in found.most:
        yield f"| {sentence.rows:,} | {_cell(sentence.text)} |"


def _planted(folder: Path) -> Iterator[str]:
    """Precision and recall of confident learning on labels that were exchanged at random."""
    read_rows = read(folder / LABELLED, Mapping.from_text("prompt=text,completion=label", "", ""))
    rows = [row for row in read_rows if isinstance(row, Pair)]
    chance = random.Random(0)
    names = sorted({row.completion for row in rows})
    wrong = set(chance.sample(range(len(rows)), round(WRONG_SHARE * len(rows))))
    others = [chance.choice([name for name in names if name != row.completion]) for row in rows]
    spoilt = [
        replace(row, completion=others[place]) if place in wrong else row for place, row in enumerate(rows)
    ]
    found = find_doubtful_labels(spoilt)
    lines = {rows[place].origin.line for place in wrong}
    ranked = [doubt.line in lines for doubt in found.doubts]
    hits, first = sum(ranked), sum(ranked[: len(wrong)])
    yield f"{len(wrong):,} of {len(rows):,} labels were exchanged at random. The model, right on {found.accuracy:.1%}"
    yield f"of the given labels out of fold, contradicts {len(ranked):,} rows, {hits:,} of them exchanged: recall"
    yield f"{hits / len(wrong):.1%}, precision {hits / max(len(ranked), 1):.1%}; of its first {len(wrong):,} rows"
    yield f"{first / len(wrong):.1%} were exchanged. What is left may be wrong in the set itself: it was not read."
    yield f"Estimated share of wrong labels: {found.noise:.1%}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
