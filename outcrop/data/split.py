"""Train, validation and test rows such that no almost equal prompts stand on two sides, with a certificate of it."""

from __future__ import annotations

import collections.abc
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import check_target, digest, staged_folder, write_atomic, write_json
from outcrop.core.seeds import derive
from outcrop.data.crossing import crossing_pairs
from outcrop.data.formats.catalog import SHAPES
from outcrop.data.labels import label_set
from outcrop.data.mapping import Mapping
from outcrop.data.neighbours import THRESHOLD, clusters
from outcrop.data.records import Conversation, Pair, Record, Text, answer_text, prompt_text
from outcrop.data.shingles import LARGEST_MEAN, normalise

PARTS = ("train", "validation", "test")
CERTIFICATE = "split.json"
FORMAT_OF = {Pair: "prompt-completion", Conversation: "openai-chat", Text: "input"}
"""The format in which each kind of record is written; each holds its kind without loss."""

RULE = (
    f"Prompts with a Jaccard similarity of character 5-grams of at least {THRESHOLD}, directly or through others, or "
    "equal after NFKC, case folding and white space, stay together; where prompts have more than "
    f"{LARGEST_MEAN:,} 5-grams on average, a share of them drawn by hash is compared. Stratified on the answer where "
    "answers are labels. Clusters are drawn in the order of a hash of the seed and the cluster's first prompt."
)


class Cluster(NamedTuple):
    """Rows that stay together, the answer that stands for them, and the place in the seeded order."""

    rows: list[int]
    stratum: str
    rank: int


@dataclass(frozen=True)
class Split:
    """The three parts, each in the order of the data, and the certificate."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    certificate: dict[str, Any]

    def parts(self) -> dict[str, list[Record]]:
        """The parts that have rows, by name."""
        named = zip(PARTS, (self.train, self.validation, self.test), strict=True)
        return {name: records for name, records in named if records}


def split(
    records: Sequence[Record], seed: int, validation: float = 0.1, test: float = 0.1, stratify: bool = True
) -> Split:
    """Split by near-duplicate-free groups; a pure function of the seed and the set of records, not of their order.

    validation, test: shares of the rows, reached to within one cluster. Raises UsageError for shares that leave
    nothing to train on, and DataError where there are too few clusters for the parts, or records of several kinds.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UsageError(f"The shares validation={validation} and test={test} leave no training rows.", "Lower them.")
    kinds = sorted({type(record).__name__ for record in records})
    if len(kinds) != 1:
        raise DataError(f"Cannot split {' and '.join(kinds) or 'no records'}.", "Give records of one kind.")
    texts = [prompt_text(record) for record in records]
    labels = label_set(records) if stratify else None
    strata = [answer_text(record).strip() if labels else "" for record in records]
    shares = {"test": test, "validation": validation}
    found = _clusters(texts, strata, clusters(texts).tolist(), seed)
    while crossing := crossing_pairs(texts, parts := _assign(found, len(records), shares)):
        # MinHash missed these pairs and the exact join found them: their clusters become one.
        found = _clusters(texts, strata, _united(found, crossing), seed)
    chosen = [[record for record, part in zip(records, parts, strict=True) if part == name] for name in PARTS]
    train_rows, validation_rows, test_rows = chosen
    drawn = Split(train_rows, validation_rows, test_rows, certificate={})
    return replace(drawn, certificate=_certificate(drawn, records, found, seed, shares, labels))


def _clusters(texts: Sequence[str], strata: Sequence[str], groups: Sequence[int], seed: int) -> list[Cluster]:
    """The clusters in their seeded order. groups: the number of each row's cluster."""
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    found = []
    for rows in members.values():
        first = min(normalise(texts[row]) for row in rows)
        found.append(Cluster(rows, min(strata[row] for row in rows), derive(seed, "split", first)))
    return sorted(found, key=lambda cluster: cluster.rank)


def _united(found: Sequence[Cluster], crossing: Sequence[tuple[int, int]]) -> list[int]:
    """The number of each row's cluster once the clusters of every crossing pair are one."""
    group = {row: number for number, cluster in enumerate(found) for row in cluster.rows}
    for left, right in crossing:
        old, new = group[right], group[left]
        group = {row: new if number == old else number for row, number in group.items()}
    return [group[row] for row in sorted(group)]


def _assign(found: Sequence[Cluster], rows: int, shares: collections.abc.Mapping[str, float]) -> list[str]:
    """The part of each row."""
    parts = ["train"] * rows
    free = list(found)
    for name, share in shares.items():
        wanted = max(1, round(share * rows)) if share else 0
        taken = _draw(free, wanted)
        if wanted and not taken:
            largest = max(len(cluster.rows) for cluster in found)
            raise DataError(
                f"A {name} part of {wanted:,} of {rows:,} rows cannot be made: almost equal prompts form "
                f"{len(found):,} clusters, the largest of {largest:,} rows.",
                "Add rows that differ, or ask for other shares.",
            )
        for cluster in taken:
            for row in cluster.rows:
                parts[row] = name
        free = _without(free, taken)
    if not free:
        raise DataError("No rows are left to train on.", "Ask for smaller shares, or add rows that differ.")
    return parts


def _draw(free: Sequence[Cluster], wanted: int) -> list[Cluster]:
    """Clusters with `wanted` rows in all, of every stratum its share; every stratum keeps its last cluster back."""
    strata: dict[str, list[Cluster]] = defaultdict(list)
    for cluster in free:
        strata[cluster.stratum].append(cluster)
    quotas = _quotas({name: sum(len(cluster.rows) for cluster in group) for name, group in strata.items()}, wanted)
    taken = [cluster for name, group in strata.items() for cluster in _fill(group[:-1], quotas[name])]
    kept_back = [group[-1] for group in strata.values()]
    rest = _without(free, taken + kept_back)
    taken += _fill(rest, wanted - _rows(taken))
    missing = wanted - _rows(taken)
    over = [cluster for cluster in _without(rest, taken) if len(cluster.rows) < 2 * missing]
    return taken + sorted(over, key=lambda cluster: len(cluster.rows))[:1]


def _fill(group: Sequence[Cluster], wanted: int) -> list[Cluster]:
    """Clusters in their seeded order, each if it still fits."""
    taken = []
    for cluster in group:
        if len(cluster.rows) <= wanted:
            taken.append(cluster)
            wanted -= len(cluster.rows)
    return taken


def _rows(found: Sequence[Cluster]) -> int:
    return sum(len(cluster.rows) for cluster in found)


def _without(found: Sequence[Cluster], taken: Sequence[Cluster]) -> list[Cluster]:
    ranks = {cluster.rank for cluster in taken}
    return [cluster for cluster in found if cluster.rank not in ranks]


def _quotas(rows: collections.abc.Mapping[str, int], wanted: int) -> dict[str, int]:
    """`wanted` shared out in proportion to the rows of each stratum, by largest remainders."""
    total = sum(rows.values())
    quotas = {name: wanted * count // total for name, count in rows.items()}
    by_remainder = sorted(rows, key=lambda name: (-(wanted * rows[name] % total), name))
    for name in by_remainder[: wanted - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _certificate(
    drawn: Split,
    records: Sequence[Record],
    found: Sequence[Cluster],
    seed: int,
    shares: collections.abc.Mapping[str, float],
    labels: Sequence[str] | None,
) -> dict[str, Any]:
    largest = max(found, key=lambda cluster: len(cluster.rows))
    balance = {name: Counter(answer_text(record).strip() for record in part) for name, part in drawn.parts().items()}
    return {
        "version": 1,
        "seed": seed,
        "rule": RULE,
        "shares": dict(shares),
        "counts": {name: len(part) for name, part in drawn.parts().items()},
        "digests": {name: _digest(part) for name, part in drawn.parts().items()},
        "sealed": "test",
        "labels": {label: {name: balance[name][label] for name in balance} for label in labels} if labels else None,
        "clusters": {
            "count": len(found),
            "rows_with_neighbours": sum(len(cluster.rows) for cluster in found if len(cluster.rows) > 1),
            "largest": {"rows": len(largest.rows), "first": str(records[largest.rows[0]].origin)},
        },
        "proof": {
            "method": "exact prefix-filter join over all pairs of rows in different parts, after the split",
            "threshold": THRESHOLD,
            "pairs_across_parts": 0,
        },
        "fields_left_out": sorted({str(name) for record in records for name in record.fields}),
    }


def write_split(drawn: Split, folder: Path, mapping: Mapping | None = None, *, overwrite: bool = False) -> None:
    """Write train.jsonl, validation.jsonl, test.jsonl and the certificate split.json; all of them or nothing.

    Pairs are written as Bedrock's prompt/completion, conversations as messages, texts as {"input": …}; other columns
    are left out and named in the certificate, and so is the mapping that made the records. Raises UsageError if the
    folder holds something.
    """
    check_target(folder, overwrite=overwrite)
    with staged_folder(folder) as scratch:
        for name, part in drawn.parts().items():
            write_atomic(scratch / f"{name}.jsonl", "".join(_lines(part)))
        made = {"mapping": mapping.model_dump()} if mapping else {}
        write_json(scratch / CERTIFICATE, drawn.certificate | made)


def open_split(folder: Path) -> dict[str, Path]:
    """The files of a written split by part, verified against its certificate.

    Raises UsageError where there is no certificate, and DataError if a file is missing or not what was sealed.
    """
    certificate = folder / CERTIFICATE
    if not certificate.is_file():
        raise UsageError(f"{folder} holds no {CERTIFICATE}.", "Make one with outcrop data split.")
    try:
        sealed = dict(json.loads(certificate.read_text("utf-8"))["digests"])
        paths = {name: folder / f"{name}.jsonl" for name in PARTS if name in sealed}
        paths["train"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{certificate} is not a certificate of a split.", "Restore it, or split again into a new folder."
        ) from error
    changed = [path.name for name, path in paths.items() if not path.is_file() or digest(path) != sealed[name]]
    if changed:
        raise DataError(
            f"{' and '.join(changed)} in {folder} is not the file that was split.",
            "Restore it, or split again into a new folder; scores on the old test set do not carry over.",
        )
    return paths


def _lines(part: Sequence[Record]) -> list[str]:
    return [
        json.dumps(SHAPES.load(FORMAT_OF[type(record)]).write(record), ensure_ascii=False) + "\n" for record in part
    ]


def _digest(part: Sequence[Record]) -> str:
    hasher = hashlib.sha256()
    for line in _lines(part):
        hasher.update(line.encode())
    return f"sha256:{hasher.hexdigest()}"
