"""The check as a whole: its account, its settings, its memory, and real data where it is at hand."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from outcrop.core.errors import UsageError
from outcrop.data.mapping import Mapping
from outcrop.data.validation import CheckSpec, check
from tests.data.corpus import ROWS, prompts, rows, write_jsonl
from tests.data.test_neighbours import queries


def test_the_account_of_a_data_set(tmp_path: Path) -> None:
    values = [{"text": text, "label": ("yes", "no")[row % 2]} for row, text in enumerate(prompts())]
    path = write_jsonl(tmp_path / "rows.jsonl", values)
    events: list[dict[str, object]] = []
    result = check(path, Mapping.from_text("prompt=text,completion=label"), listener=events.append)
    assert result.as_dict() == {
        "ok": True, "files": [str(path)], "rows": ROWS, "kinds": {"pair": ROWS}, "labels": {"no": 32, "yes": 32},
        "characters": sum(len(text) for text in prompts()) + 32 * 5, "languages": {"English": 3},
        "doubtful_labels": None, "errors": 0, "warnings": 0, "rows_with_errors": 0, "problems": [],
    }  # fmt: skip
    assert json.dumps(result.as_dict())


def test_a_report_covers_all_files_and_stays_short(tmp_path: Path) -> None:
    broken = [{"prompt": f"question {row}", "completion": None} for row in range(3000)]
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", broken) for name in "ab"]
    result = check(paths)
    assert not result.ok
    (group,) = result.as_dict()["problems"]
    assert (group["count"], len(group["examples"]), group["lines_complete"]) == (6000, 5, False)
    assert group["lines"] == {str(paths[0]): list(range(1, 1001))}
    assert result.problems.rows_with_errors == 6000


def test_memory_grows_by_digests_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.data.repetition.BATCH_ROWS", 100)
    texts = [f"{text} {row}" for row, text in enumerate(queries(1000))]
    values = [{"prompt": text, "completion": f"{text} " * 100} for text in texts]
    mapping = Mapping.from_text("", "{prompt}")
    check(write_jsonl(tmp_path / "warm.jsonl", values[:50]), mapping)
    peaks = []
    for count in (500, 1000):
        path = write_jsonl(tmp_path / f"{count}.jsonl", values[:count])
        tracemalloc.start()
        check(path, mapping)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 500 < 2500, "bytes per row"


def test_the_base_model_s_own_tokens_are_looked_for(tmp_path: Path) -> None:
    values = rows("prompt-completion")
    values[4]["completion"] += " <END>"
    path = write_jsonl(tmp_path / "rows.jsonl", values)
    assert check(path).problems.lines() == []
    problems = check(path, spec=CheckSpec(special_tokens=("<END>",))).problems
    assert [(problem.code, problem.origin.line, problem.field) for problem in problems.examples()] == [
        ("special-token", 5, "completion")
    ]


def test_personal_data_is_not_repeated_in_the_report(tmp_path: Path) -> None:
    values = rows("prompt-completion")
    values[4]["completion"] = "Ask eva.lund@example.org or use AKIAJ4Z7Q2XW5N3RTKLM."
    report = json.dumps(check(write_jsonl(tmp_path / "rows.jsonl", values)).as_dict())
    assert "pii-email" in report
    assert "eva.lund" not in report
    assert "AKIAJ4" not in report


def test_problems_of_the_other_file_are_reported_too(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "one"')
    problems = check(write_jsonl(tmp_path / "rows.jsonl", rows("alpaca")), against=other).problems
    assert [problem.origin.file for problem in problems.examples()] == [str(other)]


def test_a_token_limit_needs_a_way_to_count(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows("alpaca"))
    with pytest.raises(UsageError, match="without a base model"):
        check(path, spec=CheckSpec(max_tokens=10))


DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = [
    ("intents/banking77/train.jsonl.gz", "prompt=text,completion=label", "", 9_963, 77),
    ("intents/clinc150/train.jsonl.gz", "prompt=text,completion=label", "", 14_933, 150),
    ("word-problems/gsm8k/train.jsonl.gz", "prompt=question,completion=answer", "", 7_471, 0),
    ("dialogue/sgd/dev.jsonl.gz", "messages=turns", "user=USER,assistant=SYSTEM", 2_096, 0),
    ("summarisation/scitldr/dev.jsonl.gz", "prompt=source[],completion=target[0]", "", 618, 0),
    ("slots/restaurant8k/train.jsonl.gz", "prompt=text,completion=labels{}", "", 7_613, 0),
    ("corpora/general/stories-00.jsonl.xz", "text=text", "", 668, 0),
]


@pytest.mark.parametrize(("name", "columns", "roles", "count", "labels"), REAL)
def test_real_data_has_no_errors(name: str, columns: str, roles: str, count: int, labels: int) -> None:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the data pack is not at hand ({name})")
    result = check(path, Mapping.from_text(columns, roles=roles))
    assert (result.problems.errors, result.rows, len(result.labels or ())) == (0, count, labels)
