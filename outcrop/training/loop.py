"""THE training loop: batches → step → journal → evaluation → checkpoint, the same for every kind of tuning."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

from outcrop.core.errors import Diverged, UsageError
from outcrop.core.events import Listener
from outcrop.training import checkpoints
from outcrop.training.batches import BatchPlan, Example
from outcrop.training.checkpoints import Checkpoint
from outcrop.training.engine import StepResult, TrainingEngine
from outcrop.training.estimate import measure, peak_memory_gb
from outcrop.training.journal import Journal
from outcrop.training.schedules import learning_rate
from outcrop.training.scoring import Evaluation
from outcrop.training.spec import TrainingSpec
from outcrop.training.stopping import DivergenceWatch, EarlyStopping, overfitting

StopReason = Literal["finished", "early stopping", "time limit", "diverged"]


@dataclass(frozen=True)
class Task:
    """What to train on. metric: "exact_match" where answers are short and closed, else None.

    identity: digests of data and base; a checkpoint of another identity is refused.
    """

    examples: Sequence[Example]
    validation: Sequence[Example]
    metric: str | None
    identity: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How training went. The engine holds the best weights when the loop returns."""

    reason: StopReason
    steps: int
    best_step: int
    before: Evaluation | None
    after: Evaluation | None
    minutes: float
    estimated_minutes: float
    peak_memory_gb: float
    message: str


class TrainingRun:
    """One run in one folder, which holds its journal, checkpoints and best weights, and from which it resumes."""

    def __init__(
        self, engine: TrainingEngine, task: Task, spec: TrainingSpec, folder: Path, listener: Listener
    ) -> None:
        if spec.learning_rate is None or spec.warmup_steps is None:
            raise AssertionError("the loop takes a resolved spec")
        self.engine, self.task, self.spec, self.folder = engine, task, spec, folder
        self.plan = BatchPlan(len(task.examples), spec.batch_size, spec.seed)
        self.total = self.plan.steps_per_epoch * spec.epochs
        by_metric = task.metric is not None and spec.select_by != "validation_loss"
        self.stopping = EarlyStopping(spec.early_stopping_threshold, spec.early_stopping_patience, by_metric)
        self.watch = DivergenceWatch()
        self.history: list[tuple[float, float]] = []  # training and validation loss at each evaluation
        self.losses_since: list[float] = []
        self.before: Evaluation | None = None
        self.step = 0
        self.spent = 0.0  # seconds of earlier attempts and this one
        folder.mkdir(parents=True, exist_ok=True)
        found, damaged = checkpoints.newest(folder / "checkpoints")
        self.journal = Journal(folder / "journal.jsonl", listener, keep=found.state["journal"] if found else 0)
        for name in damaged:
            self.journal.tell(
                "warning", code="damaged-checkpoint", message=f"{name} is incomplete and was passed over."
            )
        self.minutes = 0.0  # estimated
        if found:
            self._restore(found)
        else:
            self._begin()

    def run(self) -> Outcome:
        """Train to the end. Raises Diverged if the loss is lost before any weights were worth keeping."""
        started = saved = time.perf_counter()
        reason: StopReason = "finished"
        message = ""
        while self.step < self.total:
            result, seconds = self._step()
            if problem := self.watch.check(result.loss, result.gradient_norm):
                reason, message = (
                    "diverged",
                    f"{problem[0].upper()}{problem[1:]} at step {self.step}. Try a lower learning rate.",
                )
                break
            self.step += 1
            self._report(result, seconds, started)
            if self._evaluation_due() and self._evaluate():
                reason = "early stopping"
                message = (
                    f"No improvement of {self.spec.early_stopping_threshold:g} in {self.stopping.waited} evaluations."
                )
                break
            if time.perf_counter() - saved >= self.spec.checkpoint_minutes * 60 and self.step < self.total:
                self._save(started)
                saved = time.perf_counter()
        return self._end(reason, message, started)

    def _begin(self) -> None:
        """The first evaluation, and the estimate; a time limit becomes a number of steps here, once and for all."""
        start = time.perf_counter()
        self.before = self._measure_validation()
        seconds = time.perf_counter() - start
        if self.before:
            self.stopping.update(0, self._watched(self.before))
            self._keep_best()
            self._journal_evaluation(self.before, best=True)
        estimate = measure(self.engine, self.plan, self.task.examples, seconds)
        evaluations = self.spec.epochs * self.spec.evaluations_per_epoch if self.task.validation else 0
        if self.spec.max_minutes is not None:
            per_step = estimate.minutes(self.total, evaluations) / self.total
            self.total = max(1, min(self.total, int(self.spec.max_minutes / per_step)))
        share = self.total / (self.plan.steps_per_epoch * self.spec.epochs)
        self.minutes = estimate.minutes(self.total, round(evaluations * share))
        self.journal.tell(
            "estimate",
            minutes=self.minutes,
            peak_memory_gb=estimate.peak_memory_gb,
            steps=self.total,
            step_seconds=estimate.step_seconds,
        )

    def _step(self) -> tuple[StepResult, float]:
        start = time.perf_counter()
        assert self.spec.learning_rate is not None and self.spec.warmup_steps is not None
        self.rate = learning_rate(
            self.step,
            peak=self.spec.learning_rate * self.spec.learning_rate_multiplier,
            schedule=self.spec.schedule,
            warmup=min(self.spec.warmup_steps, self.total),
            total=self.total,
        )
        batch = [self.task.examples[row] for row in self.plan.step(self.step)]
        result = self.engine.step(batch, self.step, self.rate)
        return result, time.perf_counter() - start

    def _report(self, result: StepResult, seconds: float, started: float) -> None:
        self.losses_since.append(result.loss)
        self.journal.write(
            "step",
            step=self.step,
            steps=self.total,
            epoch=self._epoch(),
            loss=result.loss,
            learning_rate=self.rate,
            gradient_norm=result.gradient_norm,
            tokens_per_s=result.tokens / seconds,
            eta_s=(self.spent + time.perf_counter() - started) / self.step * (self.total - self.step),
        )

    def _epoch(self) -> int:
        return (self.step - 1) // self.plan.steps_per_epoch + 1

    def _evaluation_due(self) -> bool:
        within = (self.step - 1) % self.plan.steps_per_epoch + 1
        each = self.plan.steps_per_epoch / self.spec.evaluations_per_epoch
        due = int(within / each) > int((within - 1) / each)
        return bool(self.task.validation) and (due or self.step == self.total)

    def _evaluate(self) -> bool:
        """Evaluate, keep the weights if they are the best; returns whether patience has run out."""
        found = self._measure_validation()
        assert found is not None
        best = self.stopping.update(self.step, self._watched(found))
        if best:
            self._keep_best()
        self._journal_evaluation(found, best=best)
        self.history.append((sum(self.losses_since) / max(1, len(self.losses_since)), found.loss))
        self.losses_since = []
        if overfitting([h[0] for h in self.history], [h[1] for h in self.history]):
            self.journal.write(
                "warning",
                code="overfitting",
                message=(
                    f"Validation loss rose to {found.loss:.4g} while training loss kept falling: the model is learning the rows by heart."
                ),
            )
        return self.stopping.exhausted

    def _journal_evaluation(self, found: Evaluation, *, best: bool) -> None:
        self.journal.write(
            "evaluation",
            step=self.step,
            epoch=self._epoch() if self.step else 0,
            validation_loss=found.loss,
            metric=self.task.metric,
            metric_value=found.exact_match if self.task.metric else None,
            best=best,
        )

    def _measure_validation(self) -> Evaluation | None:
        return self.engine.evaluate(self.task.validation) if self.task.validation else None

    def _watched(self, found: Evaluation) -> float:
        return found.exact_match if self.stopping.higher_is_better else found.loss

    def _keep_best(self) -> None:
        final = self._best_file()
        partial = final.with_name(f".{final.name}")
        save_file({"master": self.engine.flat.master.detach().cpu()}, partial)
        partial.replace(final)

    def _best_file(self) -> Path:
        return self.folder / f"best-{self.stopping.best_step:08d}.safetensors"

    def _forget_bests(self) -> None:
        """Remove earlier bests: not before a checkpoint, because a run resumed from the last one may need its best."""
        for path in self.folder.glob("best-*.safetensors"):
            if path != self._best_file():
                path.unlink()

    def _end(self, reason: StopReason, message: str, started: float) -> Outcome:
        kept = self._best_file()
        if reason == "diverged" and not (kept.exists() and self.stopping.best_step):
            self.journal.close()
            raise Diverged(
                message, "Lower --learning-rate, raise --warmup-steps, or look at the rows named in the data report."
            )
        if kept.exists() and self.task.validation and self.stopping.best_step != self.step:
            self.engine.restore({**self.engine.state(), "master": load_file(kept)["master"]})
        after = self._measure_validation()
        minutes = (self.spent + time.perf_counter() - started) / 60
        best_step = self.stopping.best_step if self.task.validation else self.step
        self.journal.write("stopped", step=self.step, best_step=best_step, reason=reason, message=message)
        error = 100 * (minutes * self.total / max(1, self.step) - self.minutes) / max(self.minutes, 1e-9)
        self.journal.tell(
            "finished", steps=self.step, minutes=minutes, peak_memory_gb=peak_memory_gb(), estimate_error_percent=error
        )
        self.journal.close()
        return Outcome(
            reason, self.step, best_step, self.before, after, minutes, self.minutes, peak_memory_gb(), message
        )

    def _save(self, started: float) -> None:
        state: dict[str, Any] = {
            "journal": self.journal.flush(),
            "identity": self._identity(),
            "stopping": self.stopping.state(),
            "watch": self.watch.state(),
            "history": self.history,
            "losses_since": self.losses_since,
            "total": self.total,
            "minutes": self.minutes,
            "spent": self.spent + time.perf_counter() - started,
            "before": list(self.before) if self.before else None,
        }
        tensors: dict[str, Tensor] = self.engine.state()
        checkpoints.save(self.folder / "checkpoints", Checkpoint(self.step, tensors, state))
        self._forget_bests()
        self.journal.tell("checkpoint", step=self.step)

    def _identity(self) -> dict[str, str]:
        return {**self.task.identity, "hyperparameters": self.spec.model_dump_json()}

    def _restore(self, found: Checkpoint) -> None:
        state = found.state
        changed = [name for name, value in self._identity().items() if state["identity"].get(name) != value]
        if changed:
            raise UsageError(
                f"The run in {self.folder} was started with other {' and '.join(changed)}.",
                "Resume with the same, or start anew with --overwrite.",
            )
        self.engine.restore(found.tensors)
        self.step, self.total, self.minutes, self.spent = found.step, state["total"], state["minutes"], state["spent"]
        self.stopping.restore(state["stopping"])
        self.watch.restore(state["watch"])
        self.history, self.losses_since = [tuple(pair) for pair in state["history"]], state["losses_since"]
        self.before = Evaluation(*state["before"]) if state["before"] else None
        self.journal.tell("resumed", step=self.step)
