"""Problems: grouped, counted, bounded, and told in a stable form."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from outcrop.core.errors import DataError
from outcrop.data.defects import DEFECTS
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Origin


def many(count: int) -> Problems:
    problems = Problems(examples=2, max_lines=3)
    for line in range(1, count + 1):
        problems.add("bad-json", Origin("a.jsonl", line), f"broken {line}")
    problems.add("blank-line", Origin("b.jsonl", 7), "nothing on this line")
    return problems


def test_report_groups_by_code_with_counts_examples_and_lines() -> None:
    report = many(4).as_dict()
    assert (report["errors"], report["warnings"], report["rows_with_errors"]) == (4, 1, 4)
    assert [group["code"] for group in report["problems"]] == ["bad-json", "blank-line"]
    assert report["problems"][0] == {
        "code": "bad-json", "severity": "error", "count": 4,
        "message": DEFECTS["bad-json"].meaning, "remedy": DEFECTS["bad-json"].remedy,
        "examples": [
            {"file": "a.jsonl", "line": 1, "field": "", "message": "broken 1"},
            {"file": "a.jsonl", "line": 2, "field": "", "message": "broken 2"},
        ],
        "lines": {"a.jsonl": [1, 2, 3]}, "lines_complete": False,
    }  # fmt: skip
    assert json.loads(json.dumps(report)) == report


def test_text_names_the_places_and_what_is_left_out() -> None:
    text = many(4).lines()
    assert text[0].startswith("error bad-json (4): ")
    assert text[1].strip() == "a.jsonl:1: broken 1"
    assert "… and 2 more" in text[3]
    assert any(line.startswith("warning blank-line (1)") for line in text)
    assert not any("blank-line" in line for line in many(1).lines("error"))


def test_memory_does_not_grow_with_the_number_of_problems() -> None:
    many(100)
    tracemalloc.start()
    small = many(100)
    after_small, _ = tracemalloc.get_traced_memory()
    large = many(20_000)
    after_large, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert small.count("bad-json") < large.count("bad-json")
    assert after_large - after_small < 2 * after_small + 10_000


def test_only_errors_raise_and_they_carry_the_report() -> None:
    problems = Problems()
    problems.add("bom", Origin("a.jsonl", 1), "starts with the bytes EF BB BF")
    problems.raise_errors()
    problems.add("null-content", Origin("a.jsonl", 3), "null instead of a text", "prompt")
    with pytest.raises(DataError) as caught:
        problems.raise_errors()
    assert caught.value.exit_code == 2
    assert caught.value.report == problems.as_dict()
    assert "a.jsonl:3: prompt: null instead of a text" in str(caught.value)
    assert "bom" not in str(caught.value)


def test_a_site_knows_whether_its_row_failed() -> None:
    site = Site(Problems(), Origin("a.jsonl", 1))
    site.add("control-character", "U+0007")
    assert not site.failed
    site.add("null-content", "null instead of a text", "prompt")
    assert site.failed


def test_a_row_with_two_errors_is_one_row() -> None:
    problems = Problems()
    for line in (1, 1, 2):
        problems.add("null-content", Origin("a.jsonl", line), "null instead of a text")
    assert (problems.errors, problems.rows_with_errors) == (3, 2)


def test_unknown_codes_are_our_bug() -> None:
    with pytest.raises(KeyError):
        Problems().add("no-such-code", Origin("a", 1), "x")
    assert not Problems()


def test_every_defect_says_what_to_do() -> None:
    for code, defect in DEFECTS.items():
        assert defect.severity in ("error", "warning")
        assert defect.meaning, code
        assert not defect.meaning.endswith("."), code
        assert defect.remedy.endswith("."), code
