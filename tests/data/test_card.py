"""Card and report: every figure measured, the sealed test not read, every text escaped, nothing loaded."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import digest
from outcrop.data.bias import report, slices
from outcrop.data.card import Card, Provenance, markdown, subject, written
from outcrop.data.label_quality import find_doubtful_labels
from outcrop.data.problems import Problems
from outcrop.data.profile import lengths, masked, profile
from outcrop.data.records import Origin, Pair, Record, Text
from outcrop.data.report import render
from outcrop.data.representative import CompareSpec, compare
from outcrop.data.split import split, write_split
from outcrop.data.terms import read_terms
from tests.data.corpus import prompts, records, write_jsonl
from tests.data.test_bias import applications

VOID = {"meta", "br", "wbr", "img", "input", "link", "hr"}
PREPARATION = {
    "version": 1,
    "steps": {
        "clean": {"rows": 100, "kept": 97, "changed_rows": 12, "dropped": {"empty-row": 3},
                  "examples": {"empty-row": ["rows.jsonl:7", "rows.jsonl:9"]}},
        "dedupe": {"rows": 97, "kept": 64, "changed_rows": 0, "dropped": {"near-duplicate": 33}, "examples": {}},
    },
    "counts": {"rows": 64},
}  # fmt: skip


class Balanced(HTMLParser):
    """Fails on a tag that is not closed, and notes what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = [value for name, value in attrs if name in ("src", "href") and value]
        self.loads += [link for link in links if not link.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def card(rows: list[Record], path: Path, **more: object) -> Card:
    about = subject(path)
    counted = profile(rows)
    return Card(Provenance("Loans", licences=("CC BY 4.0",)), about, counted, Problems(), **more)  # type: ignore[arg-type]


def written_rows(folder: Path, rows: list[Record]) -> Path:
    values = [{"prompt": row.prompt, "completion": row.completion} for row in rows if isinstance(row, Pair)]
    return write_jsonl(folder / "rows.jsonl", values)


def test_card_and_report_hold_every_section(tmp_path: Path) -> None:
    rows = applications(200, 0.3, 0.8)
    compared = compare(rows, applications(120, 0.5, 0.5, 3), CompareSpec(resamples=100))
    doubts = find_doubtful_labels(rows)
    tables = report(rows, slices(rows, ["town"], read_terms()), compared, doubts)
    path = written_rows(tmp_path, rows)
    found = card(rows, path, bias=tables, compared=compared, doubts=doubts, created="2026-01-01", command="outcrop x")
    page = render(found)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.loads == []
    assert "<script" not in page
    for heading in ("Contents", "Problems", "Against production", "Bias", "Samples", "Files", "How to reproduce"):
        assert f"<h2>{heading}</h2>" in page
    text = markdown(found)
    assert text.startswith('---\npretty_name: "Loans"\nlicense: ["CC BY 4.0"]\nsize_categories: ["n<1K"]\n---\n')
    assert "| attribution | not stated |" in text
    assert digest(path) in text
    assert "History: do outcomes differ between groups?" in text
    fields = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert fields["files"][0]["digest"] == digest(path)
    assert "weights" not in fields["representative"]["weights"]
    assert len(fields["bias"]) == 4


def test_texts_are_escaped_and_personal_data_is_not_repeated(tmp_path: Path) -> None:
    rows: list[Record] = [Pair(f"<script>alert({n})</script> eva.lund{n}@example.org", "a & b") for n in range(6)]
    page = render(card(rows, written_rows(tmp_path, rows)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "example.org" not in page
    assert "[email]" in page
    assert masked("Call (212) 555-0147 or eva@example.org.") == "Call [phone] or [email]."
    table = markdown(card(rows, tmp_path / "rows.jsonl"))
    assert all(line.count("|") >= 3 for line in table.splitlines() if line.startswith("|"))


def test_a_sealed_test_is_counted_and_not_read(tmp_path: Path) -> None:
    write_split(split(records("prompt-completion")), tmp_path / "split")
    about = subject(tmp_path / "split")
    assert [Path(name).name for name in about.read] == ["train.jsonl", "validation.jsonl"]
    assert {each.part: each.sealed for each in about.files} == {"train": False, "validation": False, "test": True}
    page = render(card(records("prompt-completion"), tmp_path / "split"))
    assert "sealed, not read" in page
    assert "almost equal prompts across parts" in page
    with (tmp_path / "split" / "test.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="is not the file that was split"):
        subject(tmp_path / "split")


def test_an_account_of_a_preparation_is_shown_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "preparation.json").write_text(json.dumps(PREPARATION))
    rows = records("prompt-completion")
    written_rows(tmp_path, rows)
    found = card(rows, tmp_path)
    page = render(found)
    assert "<h2>Preparation</h2>" in page
    assert "rows.jsonl:7; rows.jsonl:9" in page
    assert 'class="lost"' in page
    assert "| dedupe | 97 | 64 | 0 | near-duplicate 33 |" in markdown(found)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(DataError, match=r"rows\.jsonl is gone"):
        subject(tmp_path)
    for broken in ("{", "[]"):
        (tmp_path / "preparation.json").write_text(broken)
        with pytest.raises(DataError, match=r"preparation\.json is not"):
            subject(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        subject(tmp_path / "absent.jsonl")


def test_profile_counts_what_is_there() -> None:
    rows = [*records("prompt-completion"), Pair(prompts()[0].upper(), "x", Origin("rows.jsonl", 65), {"id": 1})]
    found = profile(rows)
    assert (found.rows, found.repeated, found.alike) == (65, 2, {"alone": 63, "2 alike": 2})
    assert found.kinds == {"pair": 65}
    assert found.fields == ("id",)
    assert sum(found.prompts.counts) == 65
    assert found.labels is None
    assert found == profile(rows)
    texts = profile([Text(text) for text in prompts()])
    assert texts.answers is None
    with pytest.raises(DataError, match="no usable rows"):
        profile([])


@pytest.mark.parametrize("values", [[0], [5, 5, 5], list(range(1000)), [1] * 99 + [10_000], [3, 70, 71]])
def test_bins_are_equally_wide_and_hold_every_row(values: list[int]) -> None:
    found = lengths(values)
    widths = {high - low for low, high in zip(found.edges[:-1], found.edges[1:], strict=True)}
    assert len(widths) == 1
    assert sum(found.counts) == len(values)
    assert (found.shortest, found.longest) == (min(values), max(values))


def test_values_are_written_for_people() -> None:
    assert (written(0.1234, "share"), written(0.1234, "points")) == ("12.3 %", "+12.3")
    assert (written(0.1234, "number"), written(0.1234, "p")) == ("0.123", "0.123")
    assert (written(-0.2, "points"), written(None, "p"), written(1e-5, "p")) == ("−20.0", "–", "< 0.001")
    assert (written(1234, "count"), written("a", "name")) == ("1,234", "a")
    assert not re.search("nan|inf", written(0.0, "share"))
