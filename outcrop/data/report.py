"""The report of a data set: one HTML file that needs nothing else, with plots of what is in it and what was dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from outcrop.core.charts import NARROW, WIDE, Bar, Interval, bar_chart, histogram, interval_plot
from outcrop.core.page import Figure, environment, style
from outcrop.data.bias import BiasTable
from outcrop.data.card import BY_PREPARATION, UNSTATED, Card, facts, split_facts, written
from outcrop.data.profile import Lengths

SHOWN_BARS = 25
SHOWN_EXAMPLES = 3


def render(card: Card) -> str:
    """The report as HTML; every text of the card is escaped."""
    found = card.profile
    lengths = [_histogram("Prompts", found.prompts)]
    if found.answers:
        lengths.append(_histogram("Answers", found.answers))
    contents = [
        *([_counts("Labels", found.labels, found.rows)] if found.labels else []),
        _counts("Almost equal prompts", found.alike, found.rows),
        _counts("Languages", found.languages, found.rows),
    ]
    return environment("outcrop.data").get_template("report.html.jinja").render(
        style=style(),
        card=card,
        headline=_headline(card),
        facts=facts(card),
        stated=_stated(card),
        lengths=lengths,
        contents=contents,
        steps=_steps(card.subject.preparation),
        dropped=_dropped(card.subject.preparation),
        changed=_changed(card.subject.preparation),
        problems=card.problems.as_dict()["problems"],
        split=split_facts(card.subject.split) if card.subject.split else [],
        bias=[(table, _bias_figure(table)) for table in card.bias],
        written=written,
        by_preparation=BY_PREPARATION.replace("`", ""),
        doubts=card.doubts.doubts[:SHOWN_BARS] if card.doubts else (),
    )  # fmt: skip


def _headline(card: Card) -> str:
    """What a reader must know first, in sentences with numbers."""
    found, problems = card.profile, card.problems
    rows = f"{found.rows:,} rows" + ("" if card.drawn_from is None else f", drawn from {card.drawn_from:,}")
    said = [f"{rows}, of which {found.repeated / found.rows:.1%} have an almost equal prompt elsewhere."]
    if problems.errors:
        said.append(f"{problems.rows_with_errors:,} further rows cannot be used.")
    groups = [group for group in problems.as_dict()["problems"] if group["severity"] == "warning"]
    if groups:
        said.append("Most frequent: " + ", ".join(f"{group['count']:,} {group['code']}" for group in groups[:3]) + ".")
    if card.doubts:
        doubts = card.doubts
        said.append(f"A model that is right on {doubts.accuracy:.1%} contradicts {len(doubts.doubts):,} labels.")
    return " ".join(said)


def _stated(card: Card) -> list[tuple[str, str]]:
    known = card.provenance
    return [
        ("Source", "; ".join(known.sources) or UNSTATED),
        ("Licence", "; ".join(known.licences) or UNSTATED),
        ("Attribution", known.attribution or UNSTATED),
    ]


def _figure(title: str, draw: Callable[[int], Markup], note: str = "") -> Figure:
    return Figure(title, draw(WIDE), draw(NARROW), note)


def _histogram(title: str, found: Lengths) -> Figure:
    beyond = ""
    if found.longest > found.edges[-1]:
        beyond = f" The last bar holds the longest ones too, up to {found.longest:,}."
    note = f"Median {found.median:,.0f}, mean {found.mean:,.1f}, 95 % below {found.percentile_95:,.0f}.{beyond}"
    return _figure(title, lambda width: histogram(title, found.edges, found.counts, width, "characters"), note)


def _counts(title: str, counts: Mapping[str, int], rows: int) -> Figure:
    shown = list(counts.items())[:SHOWN_BARS]
    bars = [Bar(name or "(empty)", count, f"{count:,} ({count / rows:.1%})") for name, count in shown]
    note = f"The {SHOWN_BARS} most frequent of {len(counts):,}." if len(counts) > SHOWN_BARS else ""
    return _figure(title, lambda width: bar_chart(title, bars, width), note)


def _steps(preparation: Mapping[str, Any] | None) -> Figure | None:
    """What each step kept and dropped."""
    steps = (preparation or {}).get("steps", {})
    if not steps:
        return None
    bars = [
        Bar(name, step["kept"], f"{step['kept']:,} kept, {step['rows'] - step['kept']:,} dropped",
            step["rows"] - step["kept"])
        for name, step in steps.items()
    ]  # fmt: skip
    return _figure("Rows after each step", lambda width: bar_chart("Rows after each step", bars, width),
                   "Orange is what the step dropped.")  # fmt: skip


def _dropped(preparation: Mapping[str, Any] | None) -> list[tuple[str, str, int, list[str]]]:
    """Step, reason, rows and first examples of everything that was dropped."""
    return [
        (name, reason, count, step.get("examples", {}).get(reason, [])[:SHOWN_EXAMPLES])
        for name, step in (preparation or {}).get("steps", {}).items()
        for reason, count in step["dropped"].items()
    ]


def _changed(preparation: Mapping[str, Any] | None) -> list[tuple[str, str, int, int]]:
    """Step, code, texts that were changed, and what was only counted."""
    return [
        (name, code, texts.get(code, 0), noted.get(code, 0))
        for name, step in (preparation or {}).get("steps", {}).items()
        for texts, noted in [(step.get("changed_texts", {}), step.get("notes", {}))]
        for code in {**texts, **noted}
    ]


def _bias_figure(table: BiasTable) -> Figure | None:
    """Intervals of what a table measures; the historical one's differences around zero."""
    names = [column.name for column in table.columns]
    if not table.rows or table.kind not in ("historical", "label"):
        return None
    middle = "difference" if table.kind == "historical" else "in conflict"
    if not any(row[names.index(middle)] for row in table.rows):
        return None
    unit = table.columns[names.index(middle)].unit
    rows = []
    for row in table.rows:
        at = dict(zip(names, row, strict=True))
        name = f"{at['slice']} / {at['outcome']}" if "outcome" in at else at["slice"]
        values = [100 * at[end] for end in (middle, "low", "high")]
        text = f"{written(at[middle], unit)} ({written(at['low'], unit)} to {written(at['high'], unit)})"
        rows.append(Interval(name, values[0], values[1], values[2], text))
    title = "Difference to all others, points" if table.kind == "historical" else "Rows with conflicting labels, %"
    zero = 0.0 if table.kind == "historical" else None
    return _figure(title, lambda width: interval_plot(title, rows, width, undetectable=zero), "95 % intervals.")
