"""The report: whole, self-contained, escaped; parts left out where there is nothing to say."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from outcrop.core.spec import Resolved
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.report import ReportContent, render, write_report
from outcrop.evaluation.results import (
    EvaluationResult,
    Preparation,
    Problem,
    Reproduction,
    TrainingCurves,
)
from tests.evaluation.fakes import accuracies, data, labelled, written

VOID = {"meta", "wbr", "br", "link", "img"}
ATTACK = "<script>alert('x')</script> & \"co\" <img src=x onerror=y>"


class Page(HTMLParser):
    """Checks nesting and collects tags, texts, ids and references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"unclosed {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.text += text if "style" not in self.open else ""


def evaluated(labels: int = 4, rows: int = 200, systems: int = 3) -> EvaluationResult:
    names = tuple(f"label_{index}_{ATTACK if index == 1 else ''}" for index in range(labels))
    shares = accuracies(1, rows, 0.2, 0.6, 0.9)[-systems:]
    answered = [labelled(f"system {place}", right, names, 0.3) for place, right in enumerate(shares)]
    return assess("Intents " + ATTACK, data(rows), answered)


def whole(result: EvaluationResult) -> ReportContent:
    train = tuple((step, 4 / step if step != 700 else None) for step in range(1, 1000))
    validation = tuple((step, 5 / step, step / 1000) for step in range(100, 1000, 100))
    problems = (Problem("empty-completion", 2, f"{ATTACK}.jsonl:7", "left out"),)
    return ReportContent(
        result,
        TrainingCurves(train, validation, 500, "Patience ran out.", "Accuracy"),
        Preparation((("Rows read", 2020), ("Sealed test", 200)), problems, (("Closest pair", "0.41 of 0.60"),)),
        (Resolved("epochs", 5, "default"), Resolved("max_minutes", None, "default")),
        Reproduction(f"outcrop tune --template '{ATTACK}'", (("Processor", "two cores"),), (("outcrop", "0.1.0"),)),
        "1 January 2026",
    )


def test_whole_report_is_well_formed_and_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, whole(evaluated()))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "img", "image", "use"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on")}
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference.removeprefix("#") for reference in page.references} == set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"@import|url\(|https?://", text)


def test_every_text_is_escaped() -> None:
    text = render(whole(evaluated()))
    assert "<img" not in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5
    assert ATTACK in Page(text).text


def test_sections_tell_what_the_content_holds() -> None:
    content = whole(evaluated())
    text = Page(render(content)).text
    result = content.result
    assert result.comparisons[1].sentence in text
    for part in (
        "Patience ran out.", "best: step 500", "1 steps had no finite loss.", "the mean of 4 steps",
        "Most confused" if len(result.labels or ()) > 25 else "true ↓ given →", "empty-completion", "0.41 of 0.60",
        "max_minutes", "two cores", "1, this one included", result.data.digest, "McNemar exact", "with 80 % power",
    ):
        assert part in text, part
    for sample in result.samples:
        assert f"Row {sample.row}" in text


def test_absent_parts_are_left_out() -> None:
    page = Page(render(ReportContent(evaluated())))
    assert set(page.ids) == {"results", "confusion", "samples", "data", "reproduce"}
    assert "None" not in page.text


@pytest.mark.parametrize(("labels", "listed"), [(25, False), (26, True), (150, True)])
def test_many_labels_are_shown_as_a_picture_and_pairs(labels: int, listed: bool) -> None:
    result = evaluated(labels, 450)
    text = render(ReportContent(result))
    assert ("Most confused labels" in text) == listed
    assert ("true ↓ given →" in text) != listed
    counts = result.confusion[result.candidate]
    cells = sum(1 for row in counts for count in row if count)
    picture = text[text.index(f"Confusion matrix of {result.candidate}") :]
    assert picture[: picture.index("</svg>")].count('class="hit"') + picture[
        : picture.index("</svg>")
    ].count('class="miss"') == cells


def test_one_system_without_anything_to_compare() -> None:
    page = Page(render(ReportContent(evaluated(systems=1))))
    assert "nothing is said about better or worse" in page.text
    assert "Against baseline" not in page.text
    assert "Difference to" not in page.text


def test_texts_and_empty_answers() -> None:
    texts = [("a long reference text " * 5, "" if row % 2 else "a long text") for row in range(120)]
    better = [(truth, truth) for truth, _ in texts]
    result = assess("Summaries", data(120, None), [written("base", texts), written("tuned", better)])
    page = Page(render(ReportContent(result)))
    assert "empty" in page.text
    assert "rouge-score:0.1.2" in page.text
    assert "nrefs:1|" in page.text
    assert "not counted" in page.text
    assert "confusion" not in page.ids


@pytest.mark.parametrize(
    "curves",
    [
        TrainingCurves(()),
        TrainingCurves(((1, 2.0),)),
        TrainingCurves(((1, None), (2, None)), ((2, None, None),), None, "Diverged."),
        TrainingCurves(((5, 1.0), (6, 1.0), (7, 1.0)), ((7, 1.0, 0.0),), 7, "All epochs done."),
        TrainingCurves(((1, 1e9), (2, 1e-9)), ((1, -3.0, -1.0), (2, 1e6, 1.0)), 1),
    ],
)
def test_curves_of_any_shape_are_drawn(curves: TrainingCurves) -> None:
    page = Page(render(ReportContent(evaluated(), curves)))
    assert "training" in page.ids
    assert not re.search(r"\bnan\b|\binf\b", render(ReportContent(evaluated(), curves)))


def test_unknown_candidate_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    broken = replace(evaluated(), candidate="nobody", comparisons=())
    with pytest.raises(Exception, match="No system named nobody"):
        write_report(tmp_path / "report.html", ReportContent(broken))
    assert list(tmp_path.iterdir()) == []


def test_one_row_is_reported_without_an_interval() -> None:
    systems = [written("base", [("a b c", "a x")]), written("tuned", [("a b c", "a b c")])]
    result = assess("One row", data(1), systems, metrics=["rouge_l"])
    page = render(ReportContent(result))
    assert result.comparisons[0].verdict == "no difference shown"
    assert "no interval from one row" in page
    assert "None to" not in page
    assert EvaluationResult.from_dict(result.as_dict()) == result
