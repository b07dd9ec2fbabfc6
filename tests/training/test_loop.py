"""The loop on a tiny model: what it evaluates, when it ends and why, which weights it leaves, what it writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from outcrop.core.errors import Diverged, UsageError
from outcrop.core.events import Event
from outcrop.training import loop
from outcrop.training.engine import TrainingEngine
from outcrop.training.estimate import Estimate
from outcrop.training.journal import read_journal
from outcrop.training.loop import Task, TrainingRun
from outcrop.training.schedules import learning_rate
from outcrop.training.scoring import score_rows, summarise
from outcrop.training.trunk import Trunk
from tests.support.documents import documents, rows
from tests.support.small_run import run, task
from tests.support.tiny import tiny_model
from tests.support.training import spec


class Heard(list[Event]):
    """Events by kind."""

    def of(self, kind: str) -> list[Event]:
        return [event for event in self if event["event"] == kind]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def small(count: int, **others: Any) -> Task:
    made = rows(documents([6] * count, prefix=4, answer=1))
    return Task(**{"examples": made, "validation": made[:2], "metric": None, "identity": {}} | others)


def test_the_best_weights_are_left_and_measured(tmp_path: Path, heard: Heard) -> None:
    outcome, weights = run(tmp_path, heard.append, learning_rate=3e-2)
    evaluations = heard.of("evaluation")
    best = min(evaluations, key=lambda event: event["validation_loss"])
    assert (outcome.reason, outcome.best_step) == ("early stopping", best["step"])
    assert 0 < outcome.best_step < outcome.steps == evaluations[-1]["step"]
    assert outcome.after is not None
    assert outcome.before is not None
    assert outcome.after.loss == best["validation_loss"]
    assert outcome.before.loss == evaluations[0]["validation_loss"]
    assert [event["best"] for event in evaluations[-4:]] == [False] * 4
    model = tiny_model()
    engine = TrainingEngine(model, spec(), torch.float32)
    engine.restore_weights(weights)
    assert summarise(score_rows(Trunk(model), task().validation, 4096)).loss == best["validation_loss"]
    assert outcome.message == "No improvement of 0.001 or more in 4 evaluations."
    assert heard.of("stopped") == [
        {
            "event": "stopped",
            "step": outcome.steps,
            "best_step": outcome.best_step,
            "reason": "early stopping",
            "message": outcome.message,
        }
    ]


def test_if_nothing_was_better_the_base_model_is_left_and_the_message_says_so(tmp_path: Path) -> None:
    outcome, weights = run(tmp_path, learning_rate=1.0, clip_norm=0.0)
    assert (outcome.reason, outcome.best_step) == ("early stopping", 0)
    assert outcome.after == outcome.before
    assert "None was better than the base model" in outcome.message
    assert torch.equal(weights, TrainingEngine(tiny_model(), spec(), torch.float32).flat.master)


def test_the_task_metric_decides_where_there_is_one_and_the_loss_between_equals(tmp_path: Path, heard: Heard) -> None:
    made = rows(documents([6] * 8, prefix=4, answer=1))
    held = [*made, *rows(documents([6] * 16, seed=1, prefix=4, answer=1))]
    settings = {"learning_rate": 2e-2, "epochs": 12, "batch_size": 4, "early_stopping_patience": 99}
    outcome, _ = run(tmp_path, heard.append, of=Task(made, held, "exact_match", {}), **settings)
    evaluations = heard.of("evaluation")
    best = min(evaluations, key=lambda event: (-event["metric_value"], event["validation_loss"]))
    lowest = min(evaluations, key=lambda event: event["validation_loss"])
    assert best["metric_value"] > lowest["metric_value"]
    assert outcome.best_step == best["step"]
    assert outcome.after is not None
    assert outcome.after.exact_match == best["metric_value"]
    by_loss, _ = run(tmp_path / "2", of=Task(made, held, "exact_match", {}), select_by="validation_loss", **settings)
    assert by_loss.best_step == lowest["step"]


def test_a_metric_that_is_not_there_cannot_decide(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task metric"):
        run(tmp_path, select_by="metric")


@pytest.mark.parametrize(
    ("count", "each", "steps"),
    [
        (10, 1, [0, 10, 20]),
        (10, 3, [0, 4, 7, 10, 14, 17, 20]),
        (3, 3, [0, 1, 2, 3, 4, 5, 6]),
        (3, 100, [0, 1, 2, 3, 4, 5, 6]),
        (7, 2, [0, 4, 7, 11, 14]),
    ],
)
def test_evaluations_are_even_and_at_the_end_of_each_epoch(
    count: int, each: int, steps: list[int], tmp_path: Path, heard: Heard
) -> None:
    settings = {"epochs": 2, "batch_size": 1, "evaluations_per_epoch": each, "early_stopping_patience": 100}
    run(tmp_path, heard.append, of=small(count), **settings)
    assert [event["step"] for event in heard.of("evaluation")] == steps
    assert [event["epoch"] for event in heard.of("evaluation")] == [math.ceil(step / count) for step in steps]


def test_without_validation_rows_the_last_weights_are_left(tmp_path: Path, heard: Heard) -> None:
    outcome, _ = run(tmp_path, heard.append, of=small(8, validation=[]))
    assert (outcome.reason, outcome.steps, outcome.best_step) == ("finished", 16, 16)
    assert (outcome.before, outcome.after, heard.of("evaluation")) == (None, None, [])
    assert not list(tmp_path.glob("best-*"))


def test_each_step_is_journaled_with_its_rate(tmp_path: Path, heard: Heard) -> None:
    settings = {"schedule": "cosine", "warmup_steps": 5, "learning_rate": 1e-3, "learning_rate_multiplier": 2.0}
    outcome, _ = run(tmp_path, heard.append, epochs=2, **settings)
    steps = heard.of("step")
    assert [event["step"] for event in steps] == list(range(1, 13))
    assert [event["epoch"] for event in steps] == [1] * 6 + [2] * 6
    assert [event["learning_rate"] for event in steps] == [
        learning_rate(step, peak=2e-3, warmup=5, total=12, schedule="cosine") for step in range(12)
    ]
    assert all(event["eta_s"] >= 0 and event["tokens_per_s"] > 0 for event in steps)
    assert steps[-1]["eta_s"] == 0
    assert outcome.reason == "finished"
    journal = read_journal(tmp_path / "journal.jsonl")
    assert {event["event"] for event in journal} == {"step", "evaluation", "stopped"}
    assert not any(name in event for event in journal for name in ("eta_s", "tokens_per_s"))
    finished = heard.of("finished")[0]
    assert finished["steps"] == 12
    assert finished["minutes"] == outcome.minutes > 0


def test_a_seed_is_a_run(tmp_path: Path) -> None:
    weights = [run(tmp_path / str(n), epochs=1, seed=seed, dropout=0.1)[1] for n, seed in enumerate((3, 3, 4))]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_time_limit_becomes_steps(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 steps of 1 s and 16 evaluations of 3 s are 96 s; half of that is allowed."""
    monkeypatch.setattr(loop, "measure", lambda *_: Estimate(1.0, 3.0, 0.1, 6.0))
    outcome, _ = run(tmp_path, heard.append, max_minutes=0.8, schedule="linear", early_stopping_patience=99)
    assert (outcome.reason, outcome.steps) == ("time limit", 24)
    assert outcome.message == "24 of 48 steps fit into 0.8 minutes."
    assert heard.of("estimate")[0]["steps"] == 24
    assert heard.of("estimate")[0]["minutes"] == pytest.approx(0.8)
    assert heard.of("step")[-1]["learning_rate"] == pytest.approx(1e-2 / 24)
    again, _ = run(tmp_path / "2", max_minutes=1.7, epochs=2)
    assert (again.reason, again.steps) == ("finished", 12)


def test_a_limit_of_steps_ends_the_schedule(tmp_path: Path, heard: Heard) -> None:
    outcome, _ = run(tmp_path, heard.append, max_steps=7, schedule="linear")
    assert (outcome.reason, outcome.steps) == ("finished", 7)
    assert heard.of("step")[-1]["learning_rate"] == pytest.approx(1e-2 / 7)
    assert heard.of("evaluation")[-1]["step"] == 7
    beyond, _ = run(tmp_path / "2", max_steps=9999, epochs=2)
    assert beyond.steps == 12


def test_an_absurd_rate_fails_with_an_explanation(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="At step 21 the perplexity had been over ten times"):
        run(tmp_path, learning_rate=1.0, clip_norm=0.0, early_stopping_patience=99)
    assert read_journal(tmp_path / "journal.jsonl")[-1]["reason"] == "diverged"


def test_an_explosion_after_good_steps_keeps_the_best_weights(tmp_path: Path, heard: Heard) -> None:
    """The rate rises by 0.1 a step: the first steps learn, later ones destroy."""
    rates = {"learning_rate": 1.0, "learning_rate_multiplier": 2.0, "warmup_steps": 20, "clip_norm": 0.0}
    settings = {"epochs": 20, "batch_size": 8, "early_stopping_patience": 99}
    outcome, weights = run(tmp_path, heard.append, **rates, **settings)
    assert outcome.reason == "diverged"
    assert "over ten times" in outcome.message
    assert 0 < outcome.best_step < outcome.steps - 20
    best = min(event["validation_loss"] for event in heard.of("evaluation"))
    assert outcome.after is not None
    assert outcome.after.loss == best < heard.of("evaluation")[0]["validation_loss"]
    assert weights.isfinite().all()


@pytest.mark.parametrize("when", ["step", "evaluation"])
def test_what_is_no_number_ends_training_and_never_becomes_a_weight(when: str, tmp_path: Path) -> None:
    """A weight is spoilt while training: the next loss, or the next validation loss, is not a number."""
    chosen = spec(epochs=4, batch_size=4, learning_rate=1e-2)
    engine = TrainingEngine(tiny_model(), chosen, torch.float32)

    def spoil(event: Event) -> None:
        if event["event"] == "step" and event["step"] == (9 if when == "step" else 12):
            engine.flat.master[-1] = math.nan

    outcome = TrainingRun(engine, task(), chosen, tmp_path, spoil).run()
    assert (outcome.reason, outcome.best_step) == ("diverged", 6)
    assert outcome.message.startswith(
        "At step 10 the loss or its gradient" if when == "step" else "At step 12 the validation loss"
    )
    assert engine.flat.master.isfinite().all()
    assert outcome.after is not None
    assert math.isfinite(outcome.after.loss)
    assert "NaN" not in (tmp_path / "journal.jsonl").read_text()


@pytest.mark.parametrize("validation", [True, False])
def test_a_base_model_whose_loss_is_no_number(validation: bool, tmp_path: Path) -> None:
    model, chosen = tiny_model(), spec()
    engine = TrainingEngine(model, chosen, torch.float32)
    engine.flat.master.fill_(math.nan)
    of = small(8) if validation else small(8, validation=[])
    with pytest.raises(Diverged, match="base model's own loss" if validation else "At step 1 the loss"):
        TrainingRun(engine, of, chosen, tmp_path, lambda _: None).run()


def test_overfitting_is_said_once(tmp_path: Path, heard: Heard) -> None:
    run(tmp_path, heard.append, learning_rate=3e-2, early_stopping_patience=100)
    assert len(heard.of("evaluation")) == 17
    (warning,) = heard.of("warning")
    assert warning["code"] == "overfitting"
    assert "learning the rows by heart" in warning["message"]
    assert warning in read_journal(tmp_path / "journal.jsonl")


def test_checkpoints_at_their_time(tmp_path: Path, heard: Heard) -> None:
    run(tmp_path / "often", heard.append, epochs=1, checkpoint_minutes=0)
    assert [event["step"] for event in heard.of("checkpoint")] == [1, 2, 3, 4, 5]
    heard.clear()
    run(tmp_path / "seldom", heard.append, epochs=1)
    assert heard.of("checkpoint") == []


def test_recomputed_activations_and_micro_batches_of_one_run(tmp_path: Path) -> None:
    outcome, plain = run(tmp_path / "1", epochs=2, dropout=0.1)
    again, recomputed = run(tmp_path / "2", epochs=2, dropout=0.1, gradient_checkpointing=True)
    assert torch.allclose(plain, recomputed, atol=1e-5)
    assert again.after is not None
    assert outcome.after is not None
    assert again.after.loss == pytest.approx(outcome.after.loss, abs=1e-4)
