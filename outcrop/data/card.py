"""The card of a data set: provenance, licences, digests, and measured figures, as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import DataError
from outcrop.core.files import digest
from outcrop.core.results import JsonReady
from outcrop.data.bias import BiasTable, Unit
from outcrop.data.certificate import CERTIFICATE, open_split
from outcrop.data.label_quality import LabelDoubts
from outcrop.data.problems import Problems
from outcrop.data.profile import Lengths, Profile
from outcrop.data.reading import Paths, files
from outcrop.data.representative import Representativeness

CARD, PREPARATION = "card.json", "preparation.json"
SEALED = "test"
UNSTATED = "not stated"
SHOWN_LABELS = 30
BY_PREPARATION = "By `outcrop data prepare`; the recipe `prepare.toml` beside it makes the same rows again."
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The size categories of the Hub's dataset cards."""


@dataclass(frozen=True)
class Provenance(JsonReady):
    """What only people know of a data set, as they state it."""

    name: str
    description: str = ""
    sources: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    attribution: str = ""


def name_of(path: str | Path) -> str:
    """The name of a data set for which none was stated: that of its first file, without suffixes."""
    return Path(path).name.partition(".")[0]


@dataclass(frozen=True)
class FileFacts(JsonReady):
    """A file: as it is named, its part in a split or preparation, its bytes and digest; sealed ones are not read."""

    name: str
    part: str
    bytes: int
    digest: str
    sealed: bool


@dataclass(frozen=True)
class Subject:
    """What a card is about: the files to read, all files, and what a split and a preparation say of themselves."""

    read: tuple[str, ...]
    files: tuple[FileFacts, ...]
    split: Mapping[str, Any] | None
    preparation: Mapping[str, Any] | None


@dataclass(frozen=True)
class Card:
    """Everything that is known of a data set. created, command: when and how this card was made.

    drawn_from: of how many rows those of the profile were drawn, None where it is of all.
    """

    provenance: Provenance
    subject: Subject
    profile: Profile
    problems: Problems
    bias: tuple[BiasTable, ...] = ()
    compared: Representativeness | None = None
    doubts: LabelDoubts | None = None
    created: str = ""
    command: str = ""
    drawn_from: int | None = None

    @property
    def rows(self) -> int:
        """The rows that the card is about."""
        return self.drawn_from or self.profile.rows

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON-ready fields."""
        found = self.problems.as_dict()
        return {
            "provenance": self.provenance.as_dict(),
            "files": [each.as_dict() for each in self.subject.files],
            "profile": self.profile.as_dict(),
            "problems": [{name: group[name] for name in ("code", "severity", "count", "message", "remedy", "examples")}
                         for group in found["problems"]],
            "split": dict(self.subject.split) if self.subject.split else None,
            "preparation": dict(self.subject.preparation) if self.subject.preparation else None,
            "representative": summary(self.compared),
            "doubtful_labels": self.doubts.as_dict() if self.doubts else None,
            "bias": [table.as_dict() for table in self.bias],
            "created": self.created,
            "command": self.command,
            "drawn_from": self.drawn_from,
        }  # fmt: skip


def subject(paths: Paths) -> Subject:
    """What a card of these paths is about. A folder of a split or of a preparation is known by its certificate or
    account; its sealed test is counted by its digest and not read.

    Raises UsageError for paths that do not exist, DataError for a split whose files changed and a broken account.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    folder = Path(named[0]) if len(named) == 1 else None
    split = preparation = None
    if folder and (folder / CERTIFICATE).is_file():
        parts = open_split(folder)
        split = _json(folder / CERTIFICATE)
    if folder and (folder / PREPARATION).is_file():
        preparation = _json(folder / PREPARATION)
        if split is None:
            parts = {name: folder / f"{name}.jsonl" for name in preparation.get("counts", {})}
    if split is None and preparation is None:
        facts = tuple(_facts(path, name, "", sealed=False) for path, name in files(paths))
        return Subject(tuple(str(path) for path in named), facts, None, None)
    missing = [str(path) for path in parts.values() if not path.is_file()]
    if missing:
        raise DataError(f"{', '.join(missing)} is gone.", "Restore it, or prepare again.")
    facts = tuple(_facts(path, str(path), name, sealed=name == SEALED) for name, path in parts.items())
    return Subject(tuple(str(path) for name, path in parts.items() if name != SEALED), facts, split, preparation)


def stated_of(paths: Sequence[str]) -> list[dict[str, Any]]:
    """What the cards beside data files state of them: names, sources, licences, attributions, each once. A card that
    lists another digest than a file's is about something else."""
    found: list[dict[str, Any]] = []
    for path in map(Path, paths):
        folder, read = (path, path / "train.jsonl") if path.is_dir() else (path.parent, path)
        if not (folder / CARD).is_file() or not read.is_file():
            continue
        card = _json(folder / CARD)
        described = [file.get("digest") for file in card.get("files", ())]
        stated = card.get("provenance")
        if isinstance(stated, dict) and digest(read) in described and stated not in found:
            found.append(stated)
    return found


def summary(compared: Representativeness | None) -> dict[str, Any] | None:
    """The comparison without the place and weight of every row."""
    if compared is None:
        return None
    fields = compared.as_dict()
    del fields["weights"]["weights"], fields["weights"]["places"]
    return fields


def markdown(card: Card) -> str:
    """The card as Markdown with the front matter of the Hub's dataset cards."""
    found = card.profile
    sections = [
        _front_matter(card),
        f"# {card.provenance.name}\n\n{card.provenance.description or 'No description was given.'}",
        _provenance(card.provenance),
        "## Files\n\n" + table(
            ("file", "part", "bytes", "digest"),
            [(each.name, each.part + (" (sealed, not read)" if each.sealed else ""), f"{each.bytes:,}", each.digest)
             for each in card.subject.files],
        ),
        "## Contents\n\n" + table(("figure", "value"), facts(card)),
    ]  # fmt: skip
    if found.labels:
        rows = [(name, f"{count:,}", f"{count / found.rows:.1%}") for name, count in list(found.labels.items())]
        more = f"\n… and {len(rows) - SHOWN_LABELS:,} more labels in card.json." if len(rows) > SHOWN_LABELS else ""
        sections.append("## Labels\n\n" + table(("label", "rows", "share"), rows[:SHOWN_LABELS]) + more)
    problems = card.problems.as_dict()["problems"]
    listed = [(each["code"], each["severity"], f"{each['count']:,}", each["remedy"]) for each in problems]
    sections.append(
        "## Problems found\n\n" + (table(("code", "severity", "rows", "remedy"), listed) if listed else "None.\n")
    )
    sections += _made(card)
    for each in card.bias:
        said = "".join(f"- {sentence}\n" for sentence in each.concluded)
        left = "".join(f"- Open: {sentence}\n" for sentence in each.open)
        cells = [tuple(written(value, column.unit) for value, column in zip(row, each.columns, strict=True))
                for row in each.rows]  # fmt: skip
        shown = table([column.name for column in each.columns], cells) + "\n" if cells else ""
        sections.append(f"## {each.title}\n\n{shown}{said}{left}")
    said = f"```sh\n{card.command}\n```\n\n{card.created}" if card.command else BY_PREPARATION
    sections.append(f"## How this card was made\n\n{said}")
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def facts(card: Card) -> list[tuple[str, str]]:
    """The figures of a card as they are written."""
    found = card.profile
    kinds = ", ".join(f"{count:,} {name}s" for name, count in found.kinds.items())
    drawn = "" if card.drawn_from is None else f", drawn from {card.drawn_from:,} for this page"
    rows = [("rows", f"{found.rows:,} ({kinds}){drawn}"), ("characters", f"{found.characters:,}")]
    rows.append(("prompt lengths", _lengths(found.prompts)))
    if found.answers:
        rows.append(("answer lengths", _lengths(found.answers)))
    rows.append(("labels", f"{len(found.labels):,}" if found.labels else "the answers are not labels"))
    rows.append(("languages", ", ".join(f"{name} {count / found.rows:.1%}" for name, count in found.languages.items())))
    rows.append(("rows with an almost equal prompt", f"{found.repeated:,} ({found.repeated / found.rows:.1%})"))
    if found.boilerplate and found.boilerplate.rows:
        shared = found.boilerplate
        stands = f"stand in {shared.rows:,} rows and make {shared.characters:.1%} of the text"
        rows.append(("boilerplate", f"{shared.sentences:,} sentences of many rows {stands}"))
    return [*rows, ("other fields", ", ".join(found.fields) or "none")]


def written(value: Any, unit: Unit) -> str:
    """A value of a bias table as people read it."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{100 * value:+.1f}".replace("-", "−")
    if unit == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if unit == "count":
        return f"{value:,}"
    return f"{value:.3f}" if unit == "number" else str(value)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in GitHub's Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(_cell(str(cell)) for cell in line)} |\n" for line in lines)


def _front_matter(card: Card) -> str:
    size = next((name for most, name in SIZES if card.rows < most), "n>1M")
    lines = [f"pretty_name: {json.dumps(card.provenance.name, ensure_ascii=False)}"]
    if card.provenance.licences:
        lines.append(f"license: {json.dumps(list(card.provenance.licences), ensure_ascii=False)}")
    return "\n".join(["---", *lines, f"size_categories: [{json.dumps(size)}]", "---"])


def _provenance(stated: Provenance) -> str:
    rows = [
        ("source", "; ".join(stated.sources) or UNSTATED),
        ("licence", "; ".join(stated.licences) or UNSTATED),
        ("attribution", stated.attribution or UNSTATED),
    ]
    return "## Provenance\n\n" + table(("what", "as stated"), rows)


def _made(card: Card) -> list[str]:
    found = []
    if card.subject.preparation:
        rows = [
            (name, f"{step['rows']:,}", f"{step['kept']:,}", f"{step['changed_rows']:,}",
             ", ".join(f"{reason} {count:,}" for reason, count in step["dropped"].items()) or "–")
            for name, step in card.subject.preparation.get("steps", {}).items()
        ]  # fmt: skip
        found.append("## Preparation\n\n" + table(("step", "rows", "kept", "changed", "dropped"), rows))
    if card.subject.split:
        found.append("## Split\n\n" + table(("what", "value"), split_facts(card.subject.split)))
    return found


def split_facts(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the certificate of a split claims, as it is written."""
    proof, clusters = certificate["proof"], certificate["clusters"]
    counts = ", ".join(f"{name} {count:,}" for name, count in certificate["counts"].items())
    return [
        ("parts", counts),
        ("seed", str(certificate["seed"])),
        ("rule", certificate["rule"]),
        ("clusters", f"{clusters['count']:,}, the largest of {clusters['largest']['rows']:,} rows"),
        ("almost equal prompts across parts", f"{proof['pairs_across_parts']} ({proof['method']})"),
        *((f"{name} in time", " to ".join(span)) for name, span in (certificate.get("times") or {}).items()),
    ]


def _lengths(found: Lengths) -> str:
    return (
        f"{found.shortest:,} to {found.longest:,} characters, median {found.median:,.0f}, "
        f"95 % below {found.percentile_95:,.0f}"
    )


def _facts(path: Path, name: str, part: str, *, sealed: bool) -> FileFacts:
    return FileFacts(name, part, path.stat().st_size, digest(path), sealed)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.", "Restore it, or make the folder again.") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} is not an object.", "Restore it, or make the folder again.")
    return values


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
