"""THE training loop: batches → step → journal → evaluation → checkpoint, the same for every kind of tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from outcrop.core.errors import Diverged, UsageError
from outcrop.core.events import Listener, StopRequested
from outcrop.training import checkpoints
from outcrop.training.batches import BatchPlan, Example
from outcrop.training.checkpoints import BestWeights, Checkpoint
from outcrop.training.engine import Prepared, StepResult, TrainingEngine
from outcrop.training.estimate import Renewal, measure, peak_memory_gb
from outcrop.training.journal import Journal
from outcrop.training.progress import Progress
from outcrop.training.schedules import learning_rate
from outcrop.training.scoring import Evaluation
from outcrop.training.spec import TrainingSpec
from outcrop.training.stopping import DivergenceWatch, EarlyStopping


class Stop(NamedTuple):
    """Why training ended, in a word and in a sentence."""

    reason: Literal["finished", "early stopping", "time limit", "diverged"]
    message: str = ""


@dataclass(frozen=True)
class Task:
    """What to train on. metric: "exact_match" where answers are short and closed, else None.

    identity: digests of data and base; a checkpoint of another identity is refused. renew: exchanges rows of a step for
    others that only the weights of that moment can give.
    """

    examples: Sequence[Example]
    validation: Sequence[Example]
    metric: str | None
    identity: dict[str, str]
    renew: Renewal | None = None


@dataclass(frozen=True)
class Outcome:
    """How training went. The engine holds the best weights when the loop returns."""

    reason: str
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
        if spec.select_by == "metric" and task.metric is None:
            raise UsageError("These rows have no task metric to select by.", "Use --select-by validation_loss.")
        self.engine, self.task, self.spec, self.folder, self.listener = engine, task, spec, folder, listener
        self.plan = BatchPlan(len(task.examples), spec.batch_size, spec.seed)
        by_metric = task.metric is not None and spec.select_by != "validation_loss"
        stopping = EarlyStopping(spec.early_stopping_threshold, spec.early_stopping_patience, by_metric)
        self.progress = Progress(stopping, DivergenceWatch(), self._planned)
        self.best = BestWeights(folder)
        self.prepared: Prepared | None = None
        self.started = self.saved = time.perf_counter()

    def run(self) -> Outcome:
        """Train to the end, from the newest whole checkpoint in the folder if there is one.

        Raises UsageError if that is of other data or parameters, and Diverged if the loss is lost before any weights
        were worth keeping.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        found, damaged = checkpoints.newest(self.folder / "checkpoints")
        if found:
            self._refuse_changes(found.state["identity"])
        keep = found.state["journal"] if found else 0
        with Journal(self.folder / "journal.jsonl", self.listener, keep) as self.journal:
            for name in damaged:
                message = f"{name} is incomplete and was passed over."
                self.journal.tell("warning", code="damaged-checkpoint", message=message)
            if found:
                self._resume(found)
            else:
                self._begin()
            self.started = self.saved = time.perf_counter()
            stop = None
            while stop is None and self.progress.step < self.progress.total:
                stop = self._advance()
            return self._end(stop or self._reached_the_end())

    @property
    def _planned(self) -> int:
        return self.plan.total(self.spec.epochs, self.spec.max_steps)

    @property
    def _elapsed(self) -> float:
        """Seconds of training, earlier attempts included."""
        return self.progress.seconds + time.perf_counter() - self.started

    def _resume(self, found: Checkpoint) -> None:
        self.engine.restore(found.tensors)
        self.progress.restore(found.state["progress"])
        self.journal.tell("resumed", step=found.step)

    def _begin(self) -> None:
        """The first evaluation, and the estimate; a time limit becomes a number of steps here, once and for all."""
        start = time.perf_counter()
        before = self._measure_validation()
        seconds = time.perf_counter() - start
        if before:
            if not math.isfinite(before.loss):
                raise Diverged("The base model's own loss is not a number.", "Check its weights, or take another one.")
            self.progress.before = before
            self._note(before)
        estimate = measure(self.engine, self.plan, self.task.examples, seconds, self.task.renew)
        self.progress.watch.start = estimate.loss
        each = min(self.spec.evaluations_per_epoch, self.plan.steps_per_epoch) if self.task.validation else 0
        minutes = estimate.minutes(self._planned, math.ceil(self._planned * each / self.plan.steps_per_epoch))
        if self.spec.max_minutes is not None and minutes > self.spec.max_minutes:
            self.progress.total = max(1, int(self._planned * self.spec.max_minutes / minutes))
        self.progress.estimated_minutes = minutes * self.progress.total / self._planned
        self.journal.tell(
            "estimate",
            minutes=self.progress.estimated_minutes,
            peak_memory_gb=estimate.peak_memory_gb,
            steps=self.progress.total,
            step_seconds=estimate.step_seconds,
        )

    def _advance(self) -> Stop | None:
        """A step and what is due after it; returns why training should end, if it should.

        Raises StopRequested, after a checkpoint, where the listener did and there are steps left.
        """
        progress = self.progress
        start = time.perf_counter()
        rate = self._rate(progress.step)
        batch = self.prepared or self._prepare(progress.step)
        result = self.engine.step(batch, progress.step, rate, meanwhile=self._prepare_next)
        progress.step += 1
        if problem := progress.watch.check(result.loss, result.gradient_norm):
            return self._diverged(problem)
        interruption = None
        try:
            self._report(result, rate, time.perf_counter() - start)
        except StopRequested as request:
            interruption = request
        stop = self._evaluate() if self._evaluation_due() else None
        due = interruption or time.perf_counter() - self.saved >= self.spec.checkpoint_minutes * 60
        if stop is None and due and progress.step < progress.total:
            self._save()
            if interruption:
                raise interruption
        return stop

    def _prepare(self, step: int) -> Prepared:
        rows = self.plan.step(step)
        batch = [self.task.examples[row] for row in rows]
        return self.engine.prepare(self.task.renew(step, rows, batch) if self.task.renew else batch)

    def _prepare_next(self) -> None:
        step = self.progress.step + 1
        ahead = step < self.progress.total and self.task.renew is None
        self.prepared = self._prepare(step) if ahead else None

    def _rate(self, step: int) -> float:
        assert self.spec.learning_rate is not None, "the loop takes a resolved spec"
        assert self.spec.warmup_steps is not None, "the loop takes a resolved spec"
        # A time limit shortens the run, and the warm-up that was meant for all of it.
        longest_warmup = self.progress.total if self.progress.total == self._planned else self.progress.total // 10
        return learning_rate(
            step,
            peak=self.spec.learning_rate * self.spec.learning_rate_multiplier,
            schedule=self.spec.schedule,
            warmup=min(self.spec.warmup_steps, longest_warmup),
            total=self.progress.total,
        )

    def _report(self, result: StepResult, rate: float, seconds: float) -> None:
        progress = self.progress
        progress.recent.append(result.loss)
        self.journal.write(
            "step",
            step=progress.step,
            steps=progress.total,
            epoch=self._epoch(),
            loss=result.loss,
            learning_rate=rate,
            gradient_norm=result.gradient_norm,
            tokens_per_s=result.tokens / seconds,
            eta_s=self._elapsed / progress.step * (progress.total - progress.step),
        )

    def _epoch(self) -> int:
        return math.ceil(self.progress.step / self.plan.steps_per_epoch)

    def _evaluation_due(self) -> bool:
        """evaluations_per_epoch times in each epoch, evenly, the last time at its end; and after the last step."""
        within, each = (self.progress.step - 1) % self.plan.steps_per_epoch, self.spec.evaluations_per_epoch
        due = (within + 1) * each // self.plan.steps_per_epoch > within * each // self.plan.steps_per_epoch
        return bool(self.task.validation) and (due or self.progress.step == self.progress.total)

    def _evaluate(self) -> Stop | None:
        """Evaluate, and keep the weights if they are the best; returns why training should end, if it should."""
        found = self._measure_validation()
        assert found is not None, "nothing to evaluate on"
        if not math.isfinite(found.loss):
            return self._diverged("the validation loss was no longer a number")
        self._note(found)
        if self.progress.remember(found):
            message = (
                f"Validation loss rose to {found.loss:.4g} while training loss kept falling: "
                "the model is learning the rows by heart."
            )
            self.journal.write("warning", code="overfitting", message=message)
        if not self.progress.stopping.exhausted:
            return None
        threshold, waited = self.spec.early_stopping_threshold, self.progress.stopping.waited
        message = f"No improvement of {threshold:g} or more in {waited} evaluations."
        if not self.progress.stopping.best_step:
            message += " None was better than the base model, whose weights are kept: try a lower learning rate."
        return Stop("early stopping", message)

    def _note(self, found: Evaluation) -> None:
        """Keep the weights if this evaluation of them is the best, and record it."""
        stopping, step = self.progress.stopping, self.progress.step
        best = stopping.update(step, found.exact_match if stopping.higher_is_better else found.loss, found.loss)
        if best:
            self.best.keep(step, self.engine.flat.master)
        self.journal.write(
            "evaluation",
            step=step,
            epoch=self._epoch(),
            validation_loss=found.loss,
            metric=self.task.metric,
            metric_value=found.exact_match if self.task.metric else None,
            best=best,
        )

    def _measure_validation(self) -> Evaluation | None:
        return self.engine.evaluate(self.task.validation) if self.task.validation else None

    def _diverged(self, problem: str) -> Stop:
        return Stop("diverged", f"At step {self.progress.step} {problem}. Try a lower learning rate.")

    def _reached_the_end(self) -> Stop:
        if self.progress.total == self._planned:
            return Stop("finished")
        message = f"{self.progress.total} of {self._planned} steps fit into {self.spec.max_minutes:g} minutes."
        return Stop("time limit", message)

    def _end(self, stop: Stop) -> Outcome:
        """Restore the best weights, measure them, and close the journal."""
        progress, best_step = self.progress, self.progress.step
        if self.task.validation:
            best_step = progress.stopping.best_step
        self.journal.write("stopped", step=progress.step, best_step=best_step, reason=stop.reason, message=stop.message)
        if stop.reason == "diverged" and not (self.task.validation and best_step):
            raise Diverged(stop.message, "More --warmup-steps may help, too, or a look at the rows.")
        if best_step != progress.step:
            self.engine.restore_weights(self.best.load(best_step))
        minutes, peak = self._elapsed / 60, peak_memory_gb()
        after = self._measure_validation()
        expected = progress.estimated_minutes * progress.step / progress.total
        self.journal.tell(
            "finished",
            steps=progress.step,
            minutes=minutes,
            peak_memory_gb=peak,
            estimate_error_percent=100 * (minutes - expected) / max(expected, 1e-9),
        )
        estimated = progress.estimated_minutes
        return Outcome(
            stop.reason, progress.step, best_step, progress.before, after, minutes, estimated, peak, stop.message
        )

    def _save(self) -> None:
        self.progress.seconds, self.started = self._elapsed, time.perf_counter()
        state: dict[str, Any] = {
            "journal": self.journal.flush(),
            "identity": self._identity(),
            "progress": self.progress.state(),
        }
        checkpoints.save(self.folder / "checkpoints", Checkpoint(self.progress.step, self.engine.state(), state))
        self.best.forget_others(self.progress.stopping.best_step)
        self.journal.tell("checkpoint", step=self.progress.step)
        self.saved = time.perf_counter()

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a resumed run to be the run that it resumes."""
        parameters = self.spec.model_dump(exclude={"checkpoint_minutes", "micro_batch_tokens"})
        return {**self.task.identity, **parameters, "dtype": str(self.engine.flat.compute.dtype)}

    def _refuse_changes(self, stored: dict[str, Any]) -> None:
        now = self._identity()
        changed = [name.replace("_", " ") for name, value in now.items() if stored.get(name) != value]
        if changed:
            raise UsageError(
                f"The run in {self.folder} was started with other {', '.join(changed)}.",
                "Resume with the same, or start anew with --overwrite.",
            )
