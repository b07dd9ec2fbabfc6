"""Confusion matrices: a full heat map for few labels; for many a compact one and the pairs confused most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from outcrop.core.svg import element, fitted, label, picture, text_width

FULL_LABELS = 25
"""Up to this many labels every one of them is written beside the matrix."""

PAIRS = 15
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


def heat_map(title: str, labels: Sequence[str], counts: Counts, width: int) -> Markup:
    """The matrix with labels and counts: rows are true labels, columns given ones, the last one invalid answers.

    width: pixels to stay within, as far as 25 by 25 readable cells allow.
    """
    names = [fitted(name, min(150, width / 4)) for name in labels]
    columns = [*names, "invalid"] if _any_invalid(counts) else names
    side = max(*(text_width(name) for name in names), text_width("true ↓ given →", 11)) + 10
    # Column labels lean by 55 degrees: their height is the sine, their overhang the cosine of their length.
    longest = max(text_width(name) for name in columns)
    top, overhang = 0.82 * longest + 22, 0.58 * longest - 10
    cell = min(48.0, max(24.0, (width - side - overhang) / len(columns)))
    drawn = [label(side - 8, top - 8, "true ↓ given →", "axis", "end")]
    for index, name in enumerate(names):
        drawn.append(label(side - 8, top + cell * (index + 0.5) + 4, name, "name", "end"))
    for index, name in enumerate(columns):
        drawn.append(label(side + cell * (index + 0.5) + 3, top - 8, name, "name", "start", -55))
    drawn += _cells(labels, counts, cell, (side, top), numbers=True)
    size = (side + cell * len(columns) + overhang, top + cell * len(labels) + 8)
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
    for true, row in enumerate(counts):
        for given, count in enumerate(row):
            if count:
                invalid = given == len(labels)
                place = (left + cell * given + (gap if invalid else 0.0), top + cell * true)
                share = count / sum(row)
                words = f"{labels[true]} → {'invalid' if invalid else labels[given]}: {count:,} of {sum(row):,} rows"
                drawn.append(_cell(f"{words}, {100 * share:.0f} %", share, true == given, cell, place))
                if numbers:
                    strong = _strength(share, true == given, cell) > 0.55
                    kind = "count strong" if strong else "count"
                    drawn.append(label(place[0] + cell / 2, place[1] + cell / 2 + 4, f"{count}", kind, "middle"))
    return drawn


def _cell(words: str, share: float, right: bool, cell: float, place: tuple[float, float]) -> Markup:
    space = 0.5 if cell > 8 else 0.0
    return element(
        "rect", element("title", words), x=place[0] + space, y=place[1] + space, width=cell - 2 * space,
        height=cell - 2 * space, class_="hit" if right else "miss", fill_opacity=_strength(share, right, cell),
    )


def _strength(share: float, right: bool, cell: float) -> float:
    """Opacity of a cell; errors are rarer and weigh by the root of their share, small cells start darker."""
    return 0.1 + 0.8 * share if right else (0.12 if cell > 16 else 0.35) + 0.65 * share**0.5


def _any_invalid(counts: Counts) -> bool:
    return any(row[-1] for row in counts)


def _described(labels: Sequence[str], counts: Counts) -> str:
    right = sum(counts[index][index] for index in range(len(labels)))
    invalid = sum(row[-1] for row in counts)
    total = sum(map(sum, counts))
    return f"{right:,} of {total:,} rows on the diagonal, {invalid:,} answers outside the {len(labels)} labels"
