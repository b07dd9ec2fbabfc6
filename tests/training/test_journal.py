"""The journal, and the two tables in the columns of Bedrock's output."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from outcrop.core.errors import JobFailed
from outcrop.core.events import Event
from outcrop.training.journal import Journal, perplexity, read_journal, write_metrics


def test_it_records_what_the_run_determines_and_tells_all(tmp_path: Path) -> None:
    told: list[Event] = []
    with Journal(tmp_path / "journal.jsonl", told.append) as journal:
        journal.write("step", step=1, loss=0.1 + 0.2, tokens_per_s=99.0, eta_s=1.0)
        journal.tell("estimate", minutes=3)
    assert read_journal(tmp_path / "journal.jsonl") == [{"event": "step", "step": 1, "loss": 0.1 + 0.2}]
    assert told[0]["tokens_per_s"] == 99.0
    assert told[1] == {"event": "estimate", "minutes": 3}


def test_it_goes_on_from_where_it_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, lambda _: None) as journal:
        journal.write("step", step=1)
        kept = journal.flush()
        journal.write("step", step=2)
    assert kept < path.stat().st_size
    with Journal(path, lambda _: None, kept) as journal:
        assert journal.flush() == kept
        journal.write("step", step=3)
    assert [event["step"] for event in read_journal(path)] == [1, 3]


def test_a_new_run_starts_with_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("of an earlier attempt\n")
    with Journal(tmp_path / "journal.jsonl", lambda _: None):
        pass
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


@pytest.mark.parametrize("content", [None, "short\n"])
def test_one_that_is_shorter_than_it_was_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "journal.jsonl").write_text(content)
    with pytest.raises(JobFailed, match="lost its end"):
        Journal(tmp_path / "journal.jsonl", lambda _: None, 100)


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl", lambda _: None) as journal, pytest.raises(ValueError, match="JSON"):
        journal.write("step", loss=math.nan)


def test_the_two_tables(tmp_path: Path) -> None:
    events: list[Event] = [
        {"event": "evaluation", "step": 0, "epoch": 0, "validation_loss": 2.0},
        {"event": "step", "step": 1, "epoch": 1, "loss": 1.5},
        {"event": "warning", "code": "overfitting"},
        {"event": "step", "step": 2, "epoch": 1, "loss": 1000.0},
        {"event": "evaluation", "step": 2, "epoch": 1, "validation_loss": 0.0},
    ]
    write_metrics(tmp_path, (event for event in events))
    assert (tmp_path / "step_wise_training_metrics.csv").read_text() == (
        f"step_number,epoch_number,training_loss,perplexity\n1,1,1.5,{math.exp(1.5)}\n2,1,1000.0,inf\n"
    )
    assert (tmp_path / "validation_metrics.csv").read_text() == (
        f"step_number,epoch_number,validation_loss,perplexity\n0,0,2.0,{math.exp(2)}\n2,1,0.0,1.0\n"
    )


def test_perplexity() -> None:
    assert perplexity(0.0) == 1
    assert perplexity(709.0) == math.inf
