"""The rows of a tuning run: what trains, what is watched and what tests, how they came to be, and whether they leak."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.data.certificate import CERTIFICATE, open_split
from outcrop.data.crossing import crossing_pairs
from outcrop.data.draw import SplitSpec
from outcrop.data.records import Record, Text, prompt_text
from outcrop.data.split import split
from outcrop.data.validation import check
from outcrop.evaluation.results import Preparation, Problem
from outcrop.models.rendering import Renderer
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.records import Rows, Source, digest_of, read_rows, refuse_synthetic, renderable


class Leak(NamedTuple):
    """Rows of a part that are almost equal to rows of an earlier one, in a sentence."""

    part: str
    sentence: str


@dataclass(frozen=True)
class Parts:
    """The rows of a run. test_paths: the files of the test rows; digests: of what was read, by part;
    leaks: rows that are almost equal across parts;
    prompt: the template that made the prompts and the column it shows, None without one;
    notes: sentences on test rows that are not measured as they were given."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    test_paths: tuple[str, ...]
    digests: dict[str, str]
    preparation: Preparation
    leaks: tuple[Leak, ...]
    prompt: dict[str, str] | None
    notes: tuple[str, ...] = ()


def gather_parts(
    source: Source, validation: Sequence[str], test: Sequence[str], spec: TrainingSpec, listener: Listener
) -> Parts:
    """Read the rows of all parts. A folder written by `outcrop data split` brings its own; validation rows that are not
    given are split off, test rows that are not given are left out. Rows that are almost equal across parts are warned
    of, with their number. Raises DataError with every problem of the training files."""
    mapping = source.mapping()
    prompt = prompt_form(mapping.model_dump() if mapping else None)
    claims: tuple[tuple[str, str], ...] = ()
    split_folder = Path(source.paths[0]) if len(source.paths) == 1 else None
    if split_folder is not None and (split_folder / CERTIFICATE).is_file():
        if mapping or source.format:
            raise UsageError("A split folder's rows are records already.", "Leave out --map, --template and --format.")
        files = {name: str(path) for name, path in open_split(split_folder).items()}
        certificate = json.loads((split_folder / CERTIFICATE).read_text("utf-8"))
        claims, prompt = _claims(certificate), prompt_form(certificate.get("mapping"))
        source = Source((files["train"],), drop_bad_rows=source.drop_bad_rows)
        validation = validation or [files[name] for name in ("validation",) if name in files]
        test = test or [files[name] for name in ("test",) if name in files]
    rows = _labelled(read_rows(source, listener))
    train, tested = rows.records, _labelled(read_rows(source.at(test), listener)).records if test else []
    refuse_synthetic(tested)
    if validation:
        held = _labelled(read_rows(source.at(validation), listener)).records
    else:
        drawn = split(train, SplitSpec(seed=spec.seed, validation=spec.eval_percentage / 100, test=0))
        train, held, claims = drawn.train, drawn.validation, _claims(drawn.certificate)
        if drawn.left_out:
            message = f"{len(drawn.left_out)} synthetic rows are made from, or like, validation rows and are left out."
            listener({"event": "warning", "code": "dropped-rows", "message": message})
    found = _warn_of_defects(source, listener)
    leaks = warn_of_leaks({"training": train, "validation": held, "test": tested}, listener)
    held_digest = digest_of(validation) if validation else f"{spec.eval_percentage:g} % of the training rows"
    digests = {"training rows": rows.digest, "validation rows": held_digest}
    counts = (("training", len(train)), ("validation", len(held)), ("test", len(tested)))
    return Parts(train, held, tested, tuple(test), digests, Preparation(counts, found, claims), leaks, prompt)


def without_special_tokens(parts: Parts, renderer: Renderer, listener: Listener, *, drop: bool) -> Parts:
    """The same without the rows that hold special tokens of the base model; see `renderable`."""
    rows = {"training": parts.train, "validation": parts.validation, "test": parts.test}
    found = renderable([renderer], rows, listener, drop=drop)
    if not found.left_out:
        return parts
    told = Problem("special-token", len(found.left_out), str(found.left_out[0]), f"{found.account} They are left out.")
    preparation = replace(parts.preparation, problems=(*parts.preparation.problems, told))
    train, validation, test = found.parts.values()
    notes = (f"{len(parts.test) - len(test)} test rows are left out: they hold special tokens of the base model.",)
    return replace(
        parts, train=train, validation=validation, test=test, preparation=preparation,
        notes=notes if len(test) < len(parts.test) else (),
    )  # fmt: skip


def counted(parts: Parts) -> Parts:
    """The same with the numbers of rows that are really used, where over-long ones were dropped."""
    counts = (("training", len(parts.train)), ("validation", len(parts.validation)), ("test", len(parts.test)))
    return replace(parts, preparation=replace(parts.preparation, counts=counts))


def _warn_of_defects(source: Source, listener: Listener) -> tuple[Problem, ...]:
    """What `outcrop data check` says of the training files, as one warning with numbers."""
    groups = check(list(source.paths), source.mapping(), source.format or None).problems.as_dict()["problems"]
    if groups:
        numbers = ", ".join(f"{group['count']:,} {group['code']}" for group in groups)
        message = f"In the training data: {numbers}. outcrop data check names each."
        listener({"event": "warning", "code": "data", "message": message})
    return tuple(
        Problem(group["code"], group["count"], "{file}:{line}".format(**group["examples"][0]), group["remedy"])
        for group in groups
    )


def warn_of_leaks(parts: Mapping[str, list[Record]], listener: Listener) -> tuple[Leak, ...]:
    """Warn of rows whose prompts are equal or almost equal to those of an earlier part."""
    texts = [prompt_text(record) for records in parts.values() for record in records]
    names = [name for name, records in parts.items() for _ in records]
    found: dict[tuple[str, str], set[int]] = {}
    for left, right in crossing_pairs(texts, names):
        first, second = sorted((left, right), key=lambda row: list(parts).index(names[row]))
        found.setdefault((names[first], names[second]), set()).add(second)
    leaks = []
    for (first_part, second_part), rows in found.items():
        message = (
            f"{len(rows)} of {len(parts[second_part])} {second_part} rows have a prompt equal or almost equal to one "
            f"of the {first_part} rows: scores on them say little. outcrop data split keeps such rows together."
        )
        listener({"event": "warning", "code": "leak", "message": message})
        leaks.append(Leak(second_part, message))
    return tuple(leaks)


def _labelled(rows: Rows) -> Rows:
    wrong = next((record for record in rows.records if isinstance(record, Text)), None)
    if wrong is not None:
        raise DataError(
            "This is text without answers.",
            "Use outcrop pretrain, or name the columns: --map prompt=…,completion=….",
            str(wrong.origin),
        )
    return rows


def prompt_form(mapping: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The template that made the prompts and the column it shows, for cards; None without one."""
    if not mapping or not mapping["template"]:
        return None
    return {"template": mapping["template"], "column": mapping["columns"].get("prompt", "prompt")}


def _claims(certificate: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the certificate of a split claims, and the evidence."""
    clusters, proof = certificate["clusters"], certificate["proof"]
    return (
        ("rule", certificate["rule"]),
        ("seed", str(certificate["seed"])),
        ("clusters", f"{clusters['count']:,}, the largest of {clusters['largest']['rows']} rows"),
        ("almost equal prompts on two sides", f"{proof['pairs_across_parts']} ({proof['method']})"),
    )
