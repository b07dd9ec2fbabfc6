"""Confusion matrices: a full heat map for few labels; for many a compact one and the pairs confused most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from outcrop.evaluation.svg import element, fitted, label, picture, text_width

FULL_LABELS = 25
"""Up to this many labels every one of them is written beside the matrix."""

PAIRS = 15
_LABEL_PIXELS = 150
_COMPACT_PIXELS = 480

Counts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ConfusedPair:
    """Rows of one label that were given another. rows: all rows of the true label."""

    true: str
    given: str
    count: int
    rows: int


def confused_pairs(labels: Sequence[str], counts: Counts, most: int = PAIRS) -> list[ConfusedPair]:
    """The off-diagonal cells with most rows; invalid answers are not among them."""
    pairs = [
        ConfusedPair(labels[true], labels[given], row[given], sum(row))
        for true, row in enumerate(counts)
        for given in range(len(labels))
        if given != true and row[given]
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.true, pair.given))[:most]


def heat_map(title: str, labels: Sequence[str], counts: Counts) -> Markup:
    """The matrix with labels and counts: rows are true labels, columns given ones, the last one invalid answers."""
    names = [fitted(name, _LABEL_PIXELS) for name in labels]
    columns = [*names, "invalid"] if _any_invalid(counts) else names
    cell = min(48.0, max(26.0, 560 / len(columns)))
    side = max(text_width(name) for name in names) + 14
    # Column labels lean by 55 degrees: their height is the sine, their overhang the cosine of their length.
    longest = max(text_width(name) for name in columns)
    top, overhang = 0.82 * longest + 34, 0.58 * longest
    width = side + 22 + cell * len(columns) + overhang
    origin = (side + 22, top)
    drawn = [label(origin[0], 12, "given label", "axis"), label(12, top - 8, "true label", "axis")]
    for index, name in enumerate(names):
        drawn.append(label(origin[0] - 8, top + cell * (index + 0.5) + 4, name, "name", "end"))
    for index, name in enumerate(columns):
        drawn.append(label(origin[0] + cell * (index + 0.5), top - 8, name, "name", "start", -55))
    drawn += _cells(labels, counts, cell, origin, numbers=True)
    size = (width, top + cell * len(labels) + 8)
    return picture(title, _described(labels, counts), size, "heat", *drawn)


def compact_map(title: str, labels: Sequence[str], counts: Counts) -> Markup:
    """The matrix as a picture without labels; every cell tells its own on hovering."""
    columns = len(labels) + (2 if _any_invalid(counts) else 0)
    cell = _COMPACT_PIXELS / columns
    origin = (20.0, 20.0)
    drawn = [label(origin[0], 13, "given label", "axis"), label(13, origin[1], "true label", "axis", "end", -90)]
    drawn += _cells(labels, counts, cell, origin, numbers=False)
    if _any_invalid(counts):
        drawn.append(label(origin[0] + _COMPACT_PIXELS, 13, "invalid", "axis", "end"))
    size = (origin[0] + _COMPACT_PIXELS + 2, origin[1] + cell * len(labels) + 2)
    return picture(title, _described(labels, counts), size, "heat compact", *drawn)


def _cells(
    labels: Sequence[str], counts: Counts, cell: float, origin: tuple[float, float], *, numbers: bool
) -> list[Markup]:
    left, top = origin
    size = cell * len(labels)
    # Without numbers the invalid column stands one cell apart.
    gap = 0.0 if numbers else cell
    drawn = [element("rect", x=left, y=top, width=size, height=size, class_="ground")]
    if _any_invalid(counts):
        drawn.append(element("rect", x=left + size + gap, y=top, width=cell, height=size, class_="ground"))
    space = 0.5 if cell > 8 else 0.0
    for true, row in enumerate(counts):
        for given, count in enumerate(row):
            if not count:
                continue
            invalid = given == len(labels)
            place = (left + cell * given + (gap if invalid else 0.0) + space, top + cell * true + space)
            name = "invalid" if invalid else labels[given]
            share = count / sum(row)
            tip = element("title", f"{labels[true]} → {name}: {count:,} of {sum(row):,} rows, {100 * share:.0f} %")
            strength = f"{0.12 + 0.88 * share**0.5:.2f}" if given != true else f"{0.1 + 0.8 * share:.2f}"
            square = element(
                "rect", tip, x=place[0], y=place[1], width=cell - 2 * space, height=cell - 2 * space,
                class_="hit" if given == true else "miss", fill_opacity=strength,
            )
            drawn.append(square)
            if numbers:
                kind = "count strong" if float(strength) > 0.55 else "count"
                drawn.append(label(place[0] + cell / 2 - space, place[1] + cell / 2 + 4, f"{count}", kind, "middle"))
    return drawn


def _any_invalid(counts: Counts) -> bool:
    return any(row[-1] for row in counts)


def _described(labels: Sequence[str], counts: Counts) -> str:
    right = sum(counts[index][index] for index in range(len(labels)))
    invalid = sum(row[-1] for row in counts)
    total = sum(map(sum, counts))
    return f"{right:,} of {total:,} rows on the diagonal, {invalid:,} answers outside the {len(labels)} labels"
