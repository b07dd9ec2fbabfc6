"""`data show --mask`: what exactly would be trained, through the renderer that training uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from outcrop.core.events import Listener, ignore
from outcrop.data.reading import read
from outcrop.models.folder import find_model
from outcrop.models.loading import load_renderer, load_tokenizer
from outcrop.workflows.records import Source


@dataclass(frozen=True)
class MaskedRow:
    """A rendered row. tokens: (text of the token, its loss weight); origin: where the row stands."""

    origin: str
    tokens: list[tuple[str, float]]


def show_mask(
    base: str,
    data: Sequence[str],
    *,
    columns: str = "",
    template: str = "",
    format: str = "",
    rows: int = 3,
    listener: Listener = ignore,
) -> list[MaskedRow]:
    """The first rows as tokens with loss weights."""
    folder = find_model(base)
    renderer = load_renderer(folder, load_tokenizer(folder))
    source = Source(tuple(data), columns, template, format)
    shown = []
    for record in islice(read(source.paths, source.mapping(), format or None), rows):
        rendered = renderer.render(record)
        shown.append(
            MaskedRow(
                str(record.origin), list(zip(renderer.token_texts(rendered.token_ids), rendered.weights, strict=True))
            )
        )
    return shown
