"""`data show --mask`: what exactly would be trained, through the renderer that training uses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from outcrop.core.events import Listener, ignore
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import Paths, read
from outcrop.data.records import Record
from outcrop.models.folder import CONFIG, find_model
from outcrop.models.loading import load_renderer, load_tokenizer
from outcrop.models.rendering import Renderer


@dataclass(frozen=True)
class MaskedRow:
    """A rendered row: where it stands, its token ids, and of each token the text and the loss weight."""

    origin: str
    ids: list[int]
    tokens: list[tuple[str, float]]


@dataclass(frozen=True)
class MaskResult:
    """The first rows, what was wrong with the files so far, and the model's context in tokens where it says so."""

    rows: list[MaskedRow]
    problems: Problems
    context: int | None

    @property
    def over_long(self) -> list[MaskedRow]:
        """The rows that do not fit the context."""
        return [row for row in self.rows if self.context is not None and len(row.ids) > self.context]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: each token as [id, text, weight]."""
        rows = [{"origin": row.origin, "tokens": _triples(row)} for row in self.rows]
        return {"rows": rows, "context": self.context, "problems": self.problems.as_dict()}


def show_mask(
    base: str,
    data: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,
    rows: int = 3,
    listener: Listener = ignore,
) -> MaskResult:
    """The first `rows` rows as the tokens that training on `base` would see, with their loss weights.

    Raises ModelError for an unusable base, DataError for rows that cannot be rendered or where no row can be read.
    """
    listener({"event": "stage", "title": f"Reading the tokenizer of {base}"})
    folder = find_model(base)
    renderer = load_renderer(folder, load_tokenizer(folder))
    problems = Problems()
    records = list(islice(read(data, mapping, format, problems), rows))
    if not records:
        problems.raise_errors()
    context = folder.root.read(CONFIG).get("max_position_embeddings")
    return MaskResult([_masked(renderer, record) for record in records], problems, context)


def _masked(renderer: Renderer, record: Record) -> MaskedRow:
    row = renderer.render(record)
    texts = renderer.token_texts(row.token_ids)
    return MaskedRow(str(record.origin), row.token_ids, list(zip(texts, row.weights, strict=True)))


def _triples(row: MaskedRow) -> list[tuple[int, str, float]]:
    return [(token, text, weight) for token, (text, weight) in zip(row.ids, row.tokens, strict=True)]
