"""Decontaminate: rows that hold a row of a sealed test or of a benchmark are dropped, equal, almost equal or inside.

Only digests and hashes of the references are kept; no text of a test is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError, UsageError
from outcrop.core.spec import Spec, parameter
from outcrop.data.certificate import CERTIFICATE, open_split
from outcrop.data.mapping import Mapping
from outcrop.data.minhash import band_keys, signatures
from outcrop.data.problems import Problems
from outcrop.data.reading import read
from outcrop.data.records import Record, parts, prompt_text
from outcrop.data.steps.alike import Frame, key_of
from outcrop.data.steps.columns import Arrays, Columns
from outcrop.data.steps.step import Decision, Measure, SetStep, Verdict
from outcrop.data.words import FACTOR, bags, mixed, similarity, spelled, word_hashes

KINDS = ("", "exact", "near", "contained")
GROUP = 8
"""Words of a group. A reference is inside a row if most of its groups are; one of five to seven words is one group."""

FEWEST_WORDS = 5


class DecontaminateSpec(Spec):
    """Which references no row may hold, and how alike is too alike."""

    against: tuple[str, ...] = parameter((), "sealed tests and benchmarks: files, or folders made by a split")
    map: str = parameter("", "columns of the references, as prompt=question,completion=answer")
    near: float = parameter(0.7, "Jaccard similarity of the words of two prompts from which a row goes", gt=0.5, le=1)
    contained: float = parameter(
        0.8, f"share of a reference's groups of {GROUP} words inside a row from which it goes", gt=0, le=1,
        source="GPT-3 looked for groups of 8 to 13 words",
    )  # fmt: skip


class Decontaminate(SetStep[DecontaminateSpec]):
    """Drops rows that would teach the answers of a test."""

    spec_type = DecontaminateSpec
    reasons: ClassVar = {
        "exact": "the prompt is that of a reference, after NFKC, case folding and white space",
        "near": "the prompt is almost that of a reference",
        "contained": "the row contains the prompt of a reference",
    }

    @classmethod
    def files_of(cls, spec: DecontaminateSpec) -> list[Path]:
        """The references."""
        return _files(spec)

    def measure(self, sample: Sequence[Record]) -> Measure:
        """The reference that each row holds. Raises UsageError for references that do not exist."""
        if not self.spec.against:
            return MeasureContamination(self.spec.model_dump_json(), Frame())
        measured = MeasureContamination(self.spec.model_dump_json(), Frame.fit([prompt_text(each) for each in sample]))
        references(measured.spec, measured.frame)
        return measured

    def decide(self, columns: Columns) -> Decision:
        """Drop every row that holds a reference."""
        kinds, files, lines = (columns.joined(f"reference.{name}") for name in ("kind", "file", "line"))
        names = [str(name) for name in _files(self.spec)]
        found = [
            (row, KINDS[kinds[row]], -1, f"{names[files[row]]}:{lines[row]}") for row in np.flatnonzero(kinds).tolist()
        ]
        hit = Counter(names[files[row]] for row, *_ in found)
        verdict = Verdict.of(found)
        held = {(int(files[row]), int(lines[row])) for row, *_ in found}
        figures = {"against": names, "rows_by_reference": dict(sorted(hit.items())), "references_held": len(held)}
        return Decision(verdict, figures=figures)


@dataclass(frozen=True)
class MeasureContamination:
    """Finds for each row the reference it holds; the index is built once in each process. spec: as JSON."""

    spec: str
    frame: Frame

    def __call__(self, records: Sequence[Record]) -> Arrays:
        """`reference.kind` (a number in KINDS), `reference.file` and `reference.line`."""
        index = references(self.spec, self.frame)
        given = DecontaminateSpec.model_validate_json(self.spec)
        kind, held = np.zeros(len(records), np.int8), np.zeros(len(records), np.int64)
        if len(index.lines) and records:
            for row, (code, reference) in index.hits(records, self.frame, given).items():
                kind[row], held[row] = code, reference
        files = index.files[held] if len(index.lines) else held
        lines = index.lines[held] if len(index.lines) else held
        return {"reference.kind": kind, "reference.file": files.astype(np.int32), "reference.line": lines}


class References(NamedTuple):
    """The index of the references: their keys, bands and bags, and which of them have a group of words."""

    files: NDArray[np.int32]
    lines: NDArray[np.int64]
    keys: dict[int, int]
    bands: dict[tuple[int, int], list[int]]
    bags: tuple[NDArray[np.uint64], NDArray[np.int64]]
    groups: dict[int, list[int]]
    group_counts: NDArray[np.int64]

    def hits(self, records: Sequence[Record], frame: Frame, spec: DecontaminateSpec) -> dict[int, tuple[int, int]]:
        """For each row that holds a reference the kind and the reference; the surest kind counts."""
        found: dict[int, tuple[int, int]] = {}
        bodies = [frame.body(prompt_text(record)) for record in records]
        mine = bags(bodies)
        keys = band_keys(signatures(mine.hashes, mine.offsets))
        for row, record in enumerate(records):
            exact = self.keys.get(key_of([bodies[row]]))
            if exact is not None:
                found[row] = 1, exact
                continue
            words = mine.hashes[mine.offsets[row] : mine.offsets[row + 1]]
            near = self._near(words, keys[row].tolist(), spec.near)
            if near is not None:
                found[row] = 2, near
                continue
            inside = self._inside("\n".join(part.text for part in parts(record)), spec.contained)
            if inside is not None:
                found[row] = 3, inside
        return found

    def _near(self, words: NDArray[np.uint64], keys: Sequence[int], threshold: float) -> int | None:
        candidates = {other for band, key in enumerate(keys) for other in self.bands.get((band, key), ())}
        hashes, offsets = self.bags
        for other in sorted(candidates):
            if similarity(words, hashes[offsets[other] : offsets[other + 1]]) >= threshold:
                return other
        return None

    def _inside(self, text: str, share: float) -> int | None:
        words = word_hashes(spelled(text))
        counts: Counter[int] = Counter()
        for group in {group for size in range(FEWEST_WORDS, GROUP + 1) for group in _groups(words, size)}:
            counts.update(self.groups.get(group, ()))
        held = [each for each, count in counts.items() if count >= share * self.group_counts[each]]
        return min(held, default=None)


@lru_cache(maxsize=4)
def references(spec: str, frame: Frame) -> References:
    """The index of all references of a spec. Raises DataError where one of them cannot be read."""
    given = DecontaminateSpec.model_validate_json(spec)
    files, lines, bodies = [], [], []
    for number, path in enumerate(_files(given)):
        problems = Problems()
        for record in read(path, Mapping.from_text(given.map), None, problems):
            files.append(number)
            lines.append(record.origin.line)
            bodies.append(frame.body(prompt_text(record)))
        if problems.errors and not given.map:
            raise DataError(
                "\n".join([f"The reference {path} cannot be read:", *problems.lines("error")]),
                "Name columns of references with --set decontaminate.map=prompt=…,completion=…; --map is for the rows.",
                report=problems.as_dict(),
            )
        problems.raise_errors()
    found = bags(bodies)
    bands: dict[tuple[int, int], list[int]] = {}
    for row, keys in enumerate(band_keys(signatures(found.hashes, found.offsets)).tolist()):
        for band, key in enumerate(keys):
            bands.setdefault((band, key), []).append(row)
    groups: dict[int, list[int]] = {}
    counts = np.zeros(len(bodies), dtype=np.int64)
    for row, body in enumerate(bodies):
        mine = _own_groups(body)
        counts[row] = len(mine)
        for group in mine:
            groups.setdefault(group, []).append(row)
    keyed = {key_of([body]): row for row, body in reversed(list(enumerate(bodies)))}
    places = np.array(files, dtype=np.int32), np.array(lines, dtype=np.int64)
    return References(*places, keyed, bands, (found.hashes, found.offsets), groups, counts)


def _files(spec: DecontaminateSpec) -> list[Path]:
    """The files of all references; of a split folder its validation and its test."""
    found = []
    for name in spec.against:
        path = Path(name)
        if path.is_dir() and (path / CERTIFICATE).is_file():
            found += [file for part, file in open_split(path).items() if part != "train"]
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"There is nothing to decontaminate against at {name}.", "Give a file or a split folder.")
    return found


def _groups(words: NDArray[np.uint64], size: int) -> list[int]:
    """Hashes of every `size` words that follow each other."""
    if len(words) < size:
        return []
    found = np.zeros(len(words) - size + 1, dtype=np.uint64)
    for place in range(size):
        found = found * FACTOR + words[place : place + len(found)]
    hashes: list[int] = mixed(found ^ np.uint64(size)).tolist()
    return hashes


def _own_groups(body: str) -> set[int]:
    """The groups of a reference: those of eight words, or all its five to seven words as one."""
    words = word_hashes(spelled(body))
    return set(_groups(words, min(GROUP, len(words)))) if len(words) >= FEWEST_WORDS else set()
