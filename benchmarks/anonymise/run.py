"""What anonymising finds, what it takes for personal data that is none, and how fast it is, beside plain Presidio.

    python benchmarks/anonymise/run.py [--shared ../shared] [--model DIR]

Rules were tuned on the half of the rows whose digest begins with an even byte (by template where rows have one, so that
both halves share no sentence); every figure is of the other half. A labelled value counts as found if findings of its
type cover half of its characters or more; a finding counts as right if half of it or more is labelled so. Places and
addresses count as one another, because the labels cut addresses at the town. Results go to results/.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from plain_presidio import PlainPresidio

from outcrop.core.files import write_atomic, write_json
from outcrop.core.statistics import bootstrap, wilson
from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.findings import Finding, without_overlaps
from outcrop.data.anonymise.spec import AnonymiseSpec

RESULTS = Path(__file__).parent / "results"
SYNTH_TYPES = {
    "PERSON": "name", "STREET_ADDRESS": "address", "ZIP_CODE": "address", "GPE": "place",
    "ORGANIZATION": "organisation", "CREDIT_CARD": "card", "PHONE_NUMBER": "phone", "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban", "IP_ADDRESS": "ip", "US_SSN": "national-id", "US_DRIVER_LICENSE": "national-id",
}  # fmt: skip
WNUT_TYPES = {"person": "name", "location": "place"}
PATTERN_TYPES = ("email", "card", "iban", "ip", "mac", "crypto")
"""Types that both sides find by patterns and checksums alone."""

LOCATIONS = {"address", "place"}
SPEED_ROWS, PRESIDIO_ROWS, EQUALITY_ROWS = 4000, 400, 1300

Find = Callable[[str], Sequence[Finding]]


class Row(NamedTuple):
    """A text and its labelled values."""

    text: str
    labels: tuple[Finding, ...]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a packed JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def is_tuning(group: str) -> bool:
    """Whether rules were tuned on the rows of this group."""
    return hashlib.sha256(f"anonymise/{group}".encode()).digest()[0] % 2 == 0


def synth(shared: Path) -> Iterator[Row]:
    """The untouched half of pii/presidio-synth, by template."""
    for row in lines(shared / "data/pii/presidio-synth/train.jsonl.gz"):
        if is_tuning(str(row["template_id"])):
            continue
        spans = [(SYNTH_TYPES.get(span["entity_type"]), span) for span in row["spans"]]
        yield Row(
            row["full_text"],
            tuple(Finding(kind, s["start_position"], s["end_position"], 1, "") for kind, s in spans if kind),
        )


def wnut(shared: Path) -> Iterator[Row]:
    """The untouched half of ner/wnut17, train and dev, its tokens joined by spaces."""
    for part in ("train", "dev"):
        for row in lines(shared / f"data/ner/wnut17/{part}.jsonl.gz"):
            text = " ".join(row["tokens"])
            if not is_tuning(text):
                yield Row(text, tuple(wnut_labels(row["tokens"], row["tags"])))


def wnut_labels(tokens: Sequence[str], tags: Sequence[str]) -> Iterator[Finding]:
    """Values from IOB tags."""
    position, begin, kind = 0, -1, ""
    for token, tag in zip([*tokens, ""], [*tags, "O"], strict=True):
        if kind and not tag.startswith("I-"):
            yield Finding(kind, begin, position - 1, 1, "")
            kind = ""
        if tag.startswith("B-"):
            begin, kind = position, WNUT_TYPES.get(tag[2:], "")
        position += len(token) + 1


def covered(finding: Finding, others: Iterable[Finding], any_type: bool = False) -> int:
    """How many characters of a finding lie in others of its type."""
    spans = [other for other in others if any_type or _same(finding.type, other.type)]
    return sum(any(each.start <= place < each.end for each in spans) for place in range(finding.start, finding.end))


def _same(first: str, second: str) -> bool:
    return first == second or {first, second} <= LOCATIONS


def measure(rows: Sequence[Row], find: Find) -> dict[str, Any]:
    """Recall and precision by labelled type with Wilson intervals, and the share of labelled characters left over."""
    found, labelled, right, made = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    characters: list[tuple[int, int]] = []
    began = time.process_time()
    findings = [find(row.text) for row in rows]
    seconds = time.process_time() - began
    for row, here in zip(rows, findings, strict=True):
        of_people = [label for label in row.labels if label.type != "organisation"]
        hidden = sum(covered(label, here, any_type=True) for label in of_people)
        characters.append((hidden, sum(label.end - label.start for label in of_people)))
        for label in row.labels:
            labelled[label.type] += 1
            found[label.type] += 2 * covered(label, here) >= label.end - label.start
        for finding in here:
            made[finding.type] += 1
            right[finding.type] += 2 * covered(finding, row.labels) >= finding.end - finding.start
    types = {
        kind: {
            "labelled": labelled[kind],
            "recall": asdict(wilson(found[kind], labelled[kind])),
            "findings": made[kind],
            "precision": asdict(wilson(right[kind], made[kind])) if made[kind] else None,
        }
        for kind in sorted(labelled)
    }
    return {
        "rows": len(rows), "types": types, "rows_per_second": round(len(rows) / seconds),
        "characters_left": asdict(bootstrap(np.array(characters, float), lambda s: 1 - s[..., 0] / s[..., 1])),
        "findings_of_types_without_labels": {kind: made[kind] for kind in sorted(made) if kind not in labelled},
    }  # fmt: skip


def equality(texts: Sequence[str], ours: Find, theirs: Find) -> dict[str, Any]:
    """Findings of pattern types that both sides have, and those of one side alone with their values' shapes."""
    both, alone = Counter[str](), {"outcrop": Counter[str](), "presidio": Counter[str]()}
    for text in texts:
        sides = [
            {(each.type, each.start, each.end) for each in find(text) if each.type in PATTERN_TYPES}
            for find in (ours, theirs)
        ]
        both.update(kind for kind, _, _ in sides[0] & sides[1])
        alone["outcrop"].update(kind for kind, _, _ in sides[0] - sides[1])
        alone["presidio"].update(kind for kind, _, _ in sides[1] - sides[0])
    return {"texts": len(texts), "both": dict(both), "alone": {side: dict(count) for side, count in alone.items()}}


def speed(texts: Sequence[str], find: Find, most: int) -> float:
    """Texts per second of processor time."""
    chosen = texts[:most]
    began = time.process_time()
    for text in chosen:
        find(text)
    return round(len(chosen) / (time.process_time() - began), 1)


def speed_texts(shared: Path) -> dict[str, list[str]]:
    """Texts of three kinds: short chat, tables in words, and dialogues as one text."""
    data = shared / "data"
    chat = [row["text"] for row in lines(data / "intents/banking77/train.jsonl.gz")]
    tables = [row["question"] + "\n" + row["sql"] for row in lines(data / "text-to-sql/wikisql/dev.jsonl.gz")]
    made_up = [row["full_text"] for row in lines(data / "pii/presidio-synth/train.jsonl.gz")]
    return {"banking77": chat[:SPEED_ROWS], "wikisql": tables[:SPEED_ROWS], "presidio-synth": made_up}


def main() -> None:
    """Measure everything and write results/results.json and results/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", default="", help="a local token-classification model, measured as a third system")
    arguments = parser.parse_args()
    everything = AnonymiseSpec(types=(*AnonymiseSpec().types, "organisation"))
    ours = Anonymiser(everything).find
    patterns = Anonymiser(AnonymiseSpec(types=PATTERN_TYPES)).find
    presidio = PlainPresidio()
    systems: dict[str, Find] = {"outcrop": ours, "presidio": lambda text: without_overlaps(presidio.find(text))}
    if arguments.model:
        from outcrop.models.entities import EntityModel

        systems["outcrop+model"] = Anonymiser(everything, EntityModel(arguments.model)).find
    for find in systems.values():
        find("Warm up: Ann, 123-45-6789.")
    sets = {"presidio-synth": list(synth(arguments.shared)), "wnut17": list(wnut(arguments.shared))}
    texts = speed_texts(arguments.shared)
    result = {
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "presidio": version("presidio-analyzer"),
        "quality": {
            name: {label: measure(rows, find) for label, find in systems.items()} for name, rows in sets.items()
        },
        "equality": {name: equality(some[:EQUALITY_ROWS], patterns, presidio.find) for name, some in texts.items()},
        "rows_per_second": {
            name: {
                "outcrop": speed(some, ours, SPEED_ROWS),
                "outcrop, pattern types only": speed(some, patterns, SPEED_ROWS),
                "presidio": speed(some, presidio.find, PRESIDIO_ROWS),
            }
            for name, some in texts.items()
        },
    }
    write_json(RESULTS / "results.json", result)
    write_atomic(RESULTS / "results.md", page(result))
    print(page(result))


def page(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    parts = [
        "# Anonymising, measured\n\n",
        "Written by run.py, on the half of the rows that no rule was tuned on.\n",
        "Rows made from one template are alike, so the intervals of presidio-synth are narrower than they should be.\n",
    ]
    for name, systems in result["quality"].items():
        kinds = next(iter(systems.values()))["types"]
        rows = [
            (kind, measured["types"][kind]["labelled"], label, *map(_cell, _two(measured["types"][kind])))
            for kind in kinds
            for label, measured in systems.items()
        ]
        parts += [f"\n## {name}\n\n", _table(("type", "labelled", "system", "recall", "precision"), rows)]
        parts += [
            f"\n{label}: {_cell(measured['characters_left'])} of the labelled characters are in no finding "
            f"(organisations aside); {measured['rows_per_second']:,} rows a second.\n"
            for label, measured in systems.items()
        ]
    speeds = [(name, *(f"{each:,.0f}" for each in row.values())) for name, row in result["rows_per_second"].items()]
    parts += ["\n## Rows a second of processor time, one process\n\n"]
    parts += [_table(("rows", "outcrop", "its pattern types alone", "presidio"), speeds)]
    equal = [
        (name, _counts(row["both"]), _counts(row["alone"]["outcrop"]), _counts(row["alone"]["presidio"]))
        for name, row in result["equality"].items()
    ]
    parts += ["\n## Findings of types with a pattern beside Presidio's\n\n"]
    parts += [_table(("rows", "both", "outcrop alone", "presidio alone"), equal)]
    return "".join(parts)


def _two(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["recall"], row["precision"]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines_of = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, cells)) + " |\n" for cells in lines_of)


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    main()
