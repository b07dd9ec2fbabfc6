"""Anonymise data files: report, mask, replace or drop, with an account of what was found and what is left."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import staged_file
from outcrop.data.anonymise import vault as vaults
from outcrop.data.anonymise.anonymiser import Anonymised, Anonymiser
from outcrop.data.anonymise.findings import Recogniser
from outcrop.data.anonymise.record_texts import is_answer
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.certificate import FORMAT_OF
from outcrop.data.formats.catalog import CONTAINERS, SHAPES
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import Paths, container_of, files, read, sniff
from outcrop.data.records import Record, Text

EXAMPLES = 3
REPORT_EVERY = 500
HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass
class AnonymiseResult:
    """What was found in how many rows, what was done about it, and what a last search still finds.

    found: type → where ("prompts", "answers", "other columns") → count; examples: type → places, without the values.
    """

    mode: str
    to: str = ""
    vault: str = ""
    rows: int = 0
    rows_with_findings: int = 0
    rows_written: int = 0
    rows_dropped: int = 0
    found: dict[str, Counter[str]] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    changed_answers: int = 0
    seconds: float = 0.0
    problems: Problems = field(default_factory=Problems)

    def add(self, record: Record, done: Anonymised) -> None:
        """Count one record."""
        self.rows += 1
        self.rows_with_findings += bool(done.findings)
        self.rows_dropped += done.dropped
        self.changed_answers += done.changed_answers
        for finding in done.findings:
            other = finding.field.startswith("fields")
            where = "other columns" if other else "answers" if is_answer(record, finding.field) else "prompts"
            self.found.setdefault(finding.type, Counter())[where] += 1
            places = self.examples.setdefault(finding.type, [])
            if len(places) < EXAMPLES:
                span = f"characters {finding.start + 1} to {finding.end}"
                places.append(f"{record.origin}: {finding.field}: {span} ({finding.recogniser})")
        if self.mode in ("mask", "replace"):
            self.left.update(finding.type for finding in done.left)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        ordered = sorted(self.found, key=lambda name: (-self.found[name].total(), name))
        return {
            "mode": self.mode, "to": self.to, "vault": self.vault, "rows": self.rows,
            "rows_with_findings": self.rows_with_findings, "rows_written": self.rows_written,
            "rows_dropped": self.rows_dropped, "changed_answers": self.changed_answers,
            "found": {name: dict(self.found[name]) for name in ordered}, "left": dict(self.left),
            "examples": {name: self.examples[name] for name in ordered}, "seconds": round(self.seconds, 3),
            "warnings": self.problems.as_dict()["problems"],
        }  # fmt: skip


def anonymise(
    paths: Paths,
    to: str | Path | None = None,
    mapping: Mapping | None = None,
    format: str | None = None,
    spec: AnonymiseSpec | None = None,
    vault: str | Path | None = None,
    model: Recogniser | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
) -> AnonymiseResult:
    """Stream the records of the files through an Anonymiser into the JSON-lines file `to`; all of it or nothing.

    vault: file for the way back, see `outcrop.data.anonymise.vault`; model: a recogniser beside the built-in ones.
    Raises UsageError for a combination that is not allowed, DataError with every problem of the data.
    """
    spec = spec or AnonymiseSpec()
    target, safe = Path(to) if to else None, Path(vault) if vault else None
    _check(spec, [path for path, _ in files(paths)], target, safe, overwrite)
    result = AnonymiseResult(spec.mode, str(to or ""), str(vault or ""))
    listener({"event": "stage", "title": "Loading recognisers"})
    anonymiser = Anonymiser(spec, model)
    records = read(paths, mapping, format, result.problems)
    began = time.perf_counter()
    with ExitStack() as stack:
        output = _staged(stack, target, 0o644) if target else None
        safe_output = _staged(stack, safe, vaults.MODE) if safe else None
        for done in _anonymised(records, anonymiser, result, listener):
            if output is None or done.dropped:
                continue
            result.rows_written += 1
            output.write(_line(done.record))
            if safe_output is not None:
                vaults.write_entries(safe_output, result.rows_written, done.replacements)
        result.problems.raise_errors()
        for stream in (output, safe_output):
            if stream is not None:
                stream.close()
    result.seconds = time.perf_counter() - began
    return result


def restore(
    path: str | Path, vault: str | Path, to: str | Path, listener: Listener = ignore, *, overwrite: bool = False
) -> int:
    """Write the data of `path`, which `anonymise` made together with the vault, with its values back; returns the rows.

    Raises UsageError if `to` is in use, DataError where data and vault do not belong together.
    """
    target = Path(to)
    _check_file("--to", target, [path for path, _ in files(path)] + [Path(vault)], overwrite)
    if not Path(vault).is_file():
        raise UsageError(f"--vault {vault} does not exist.", "Check the path.")
    listener({"event": "stage", "title": "Restoring"})
    rows = 0
    with staged_file(target, vaults.MODE) as scratch, scratch.open("w", encoding="utf-8") as output:
        for record in vaults.restored(read(path, None, _format_written(path)), Path(vault)):
            output.write(_line(record))
            rows += 1
        output.flush()
    return rows


def _format_written(path: str | Path) -> str | None:
    """The format of a file that `anonymise` wrote, where it has to be said: texts with columns beside them."""
    place, name = files(path)[0]
    first = next(iter(CONTAINERS.load(container_of(place, name))(place, name, Problems())), None)
    text = FORMAT_OF[Text]
    said = first is not None and sniff([first]) is None and text in first.values
    return text if said else None


def _anonymised(
    records: Iterator[Record], anonymiser: Anonymiser, result: AnonymiseResult, listener: Listener
) -> Iterator[Anonymised]:
    listener({"event": "stage", "title": f"Anonymising ({anonymiser.spec.mode})"})
    for record in records:
        done = anonymiser(record)
        result.add(record, done)
        if result.rows % REPORT_EVERY == 0:
            listener({"event": "progress", "title": "Anonymising", "done": result.rows, "total": None})
        yield done


def _staged(stack: ExitStack, target: Path, mode: int) -> TextIO:
    scratch = stack.enter_context(staged_file(target, mode))
    return stack.enter_context(scratch.open("w", encoding="utf-8"))


def _line(record: Record) -> str:
    """The record as a row of its usual format, with its other columns where they do not stand in the way."""
    row = SHAPES.load(FORMAT_OF[type(record)]).write(record)
    line = json.dumps({**record.fields, **row}, ensure_ascii=False)
    # Half a character in another column cannot be UTF-8, but can be written as JSON's escape.
    return (line if not HALF_CHARACTER.search(line) else json.dumps({**record.fields, **row})) + "\n"


def _check(spec: AnonymiseSpec, inputs: list[Path], to: Path | None, vault: Path | None, overwrite: bool) -> None:
    if to is None and spec.mode != "report":
        raise UsageError(f"Mode {spec.mode} writes data, and --to is missing.", "Name a file, or use --mode report.")
    if to is not None:
        _check_file("--to", to, inputs, overwrite)
    if vault is None:
        return
    if to is None or spec.mode not in ("mask", "replace") or not spec.key_file:
        raise UsageError(
            "A vault belongs to masked or replaced data with a key.", "Give --to and --key-file, or no vault."
        )
    if vault.resolve().parent == to.resolve().parent:
        raise UsageError(f"--vault {vault} is in the folder of the data.", "Keep it elsewhere: who has both has all.")
    _check_file("--vault", vault, [*inputs, to], overwrite)


def _check_file(flag: str, path: Path, inputs: list[Path], overwrite: bool) -> None:
    if any(path.resolve() == each.resolve() for each in inputs):
        raise UsageError(f"{flag} {path} is read or written already.", "Give another file.")
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder.", "Give a file.")
    if flag == "--to" and path.suffix not in (".jsonl", ".ndjson"):
        raise UsageError(f"{flag} {path} is no JSON-lines file.", "Give a name that ends in .jsonl.")
    if path.exists() and not overwrite:
        raise UsageError(f"{flag} {path} exists.", "Give a new file, or say --overwrite.")
