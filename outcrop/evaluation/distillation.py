"""What a distillation found: candidates, speeds, the proof, in JSON-ready form; and its verdict in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from outcrop.core.errors import UsageError
from outcrop.core.results import Estimate, JsonReady
from outcrop.evaluation.cost import Cost


@dataclass(frozen=True)
class Speed(JsonReady):
    """A model on some prompts. p50_ms: of one prompt at a time; rows_per_s: of many at once, by `outcrop batch`;
    parameters; megabytes of its weights as computed with."""

    p50_ms: float
    rows_per_s: float
    parameters: int
    megabytes: float


@dataclass(frozen=True)
class Timed(JsonReady):
    """What speeds were measured on: prompts one at a time, and prompts answered together, so many times."""

    alone: int
    together: int
    rounds: int

    @property
    def sentence(self) -> str:
        """How that was done."""
        return (
            f"one prompt at a time: the median of {self.alone:,}; throughput: outcrop batch on {self.together:,} "
            f"prompts in fp32, from file to file, the median of {self.rounds:,} times; in turns, the models loaded, "
            "nothing else known before"
        )


@dataclass(frozen=True)
class Candidate(JsonReady):
    """A student that was tried. faster, throughput: times the teacher's, as measured before training.

    int8: its weights were in int8 when it was timed, as it is faster so and may be served so;
    quality: on the validation rows after the longest training it had, `steps`; fate: what became of it, in words.
    """

    name: str
    speed: Speed
    faster: float
    throughput: float
    quality: Estimate | None
    steps: int
    fate: str
    on_front: bool = False
    int8: bool = False


@dataclass(frozen=True)
class Target(JsonReady):
    """What was asked for: loss at most, in hundredths of the metric's range, and times the teacher's speed; metric:
    its name, empty for the one that fits the answers."""

    within: float
    faster: float
    metric: str = ""

    def checked(self) -> Target:
        """Itself. Raises UsageError for a loss or a speed that nobody can mean."""
        if not 0 <= self.within <= 100:
            raise UsageError(f"--within is {self.within:g}.", "Give the points that may be lost, from 0 to 100.")
        if not 0 < self.faster < math.inf:
            raise UsageError(f"--faster is {self.faster:g}.", "Give times the teacher's speed, above 0.")
        return self


@dataclass(frozen=True)
class Proof(JsonReady):
    """The student against the teacher on the test rows. loss and bound: in the metric's units, the bound one-sided at
    95 %; rows_needed: to show the loss with 80 % power, None where none suffice; agreement: equal answers."""

    metric: str
    loss: float
    bound: float
    shown: bool
    rows: int
    rows_needed: int | None
    method: str
    agreement: Estimate


@dataclass(frozen=True)
class CascadeWay(JsonReady):
    """One way of asking a cascade. threshold: confidence from which on the student answers; share: of the test rows
    that it answers; validated_share, validated_bound, validated_rows: where the threshold was set, the bound on the
    loss there, None where no threshold was safe; calibration_error: of its confidence on the test rows."""

    way: str
    threshold: float
    share: Estimate
    validated_share: float
    validated_bound: float | None
    validated_rows: int
    calibration_error: float

    @property
    def sentence(self) -> str:
        """The share, and why it is no larger."""
        if self.validated_bound is None:
            return "none: no threshold was safe on the validation rows"
        return (
            f"{self.share.value:.1%} of the test rows, those with a confidence of {self.threshold:.3f} or more, by "
            f"which at most {100 * self.validated_bound:.2f} points were lost on {self.validated_rows:,} validation "
            f"rows; confidence is off by {100 * self.calibration_error:.1f} points on average"
        )


@dataclass(frozen=True)
class CascadeFacts(JsonReady):
    """A student with its teacher behind it. ways: the one that was measured last."""

    ways: tuple[CascadeWay, ...]

    @property
    def share(self) -> Estimate:
        """Of the test rows that the student answered, as they were measured."""
        return self.ways[-1].share


@dataclass(frozen=True)
class Int8Facts(JsonReady):
    """A student's weights in int8, tried after its training on validation rows.

    latency, throughput: the time of its floats over that of int8, in turns; megabytes_before, megabytes: of the file of
    weights; loss_before, loss: against the teacher, in shares of the metric's range, in floats and in int8.
    """

    kept: bool
    why: str
    latency: Estimate
    throughput: Estimate
    megabytes_before: float
    megabytes: float
    loss_before: float
    loss: float
    rows: int

    @property
    def sentence(self) -> str:
        """What became of it, and what it did."""
        moved = 100 * (self.loss - self.loss_before)
        points = f"{abs(moved):.1f} points {'lost' if moved > 0 else 'won'}" if round(moved, 1) else "nothing lost"
        return (
            f"{'kept' if self.kept else 'not kept'}, because {self.why}: {self.latency.value:.2f}× as fast "
            f"({_range(self.latency, 2)}), {self.throughput.value:.2f}× the throughput ({_range(self.throughput, 2)}), "
            f"{self.megabytes:.1f} instead of {self.megabytes_before:.1f} MB, {points} on {self.rows:,} validation rows"
        )


@dataclass(frozen=True)
class DistillationFacts(JsonReady):
    """A distillation as its report tells it.

    latency, throughput: the teacher's time over the student's, measured in turns on the same prompts;
    divergence: from the teacher in nats per token on held-out rows, before and after; None by sequences alone, where
    that of the loss on the teacher's answers; over_network: the teacher's times hold its network, too;
    cost: None in facts that were written before costs were told; cascade: where proof and speeds are those of the
    student with its teacher behind it; int8: where weights in int8 were tried; timed: how speeds were measured, None in
    facts that were written before it was told.
    """

    target: Target
    method: str
    teacher: str
    student: str
    candidates: tuple[Candidate, ...]
    proof: Proof
    latency: Estimate
    throughput: Estimate
    speeds: dict[str, Speed]
    divergence: tuple[float, float]
    learnt: bool
    divergence_name: str
    teacher_calls: int
    teacher_calls_cached: int
    over_network: bool = False
    cost: Cost | None = None
    cascade: CascadeFacts | None = None
    int8: Int8Facts | None = None
    timed: Timed | None = None

    @property
    def target_met(self) -> bool:
        """Whether the loss is shown to be small and the student measured to be fast, and it learnt from its teacher."""
        return self.learnt and self.proof.shown and self.fast_enough

    @property
    def fast_enough(self) -> bool:
        """Whether both measured speed-ups reach the target."""
        return min(self.latency.value, self.throughput.value) >= self.target.faster

    @property
    def verdict(self) -> str:
        """One sentence, or two."""
        proof, points = self.proof, f"{100 * self.proof.loss:.1f} points"
        speed = (
            f"{self.latency.value:.1f}× faster ({_range(self.latency)}), {self.throughput.value:.1f}× the throughput"
        )
        lost = f"{points} lower than the teacher" if proof.loss > 0 else "as good as the teacher"
        lost = f"{100 * -proof.loss:.1f} points higher than the teacher" if proof.loss < 0 else lost
        if self.over_network:
            speed += ", the teacher's network included"
        bound = f"at most {100 * proof.bound:.1f} lower with 95 % confidence"
        said = f"{self._named}: {speed}; {lost}, {bound}, on {proof.rows:,} rows."
        if not self.learnt:
            return f"This distillation did nothing: the student is no nearer to its teacher than before. {said}"
        if self.target_met:
            return f"Target met. {said}"
        missed = []
        if not proof.shown:
            missed.append(self._unshown())
        if not self.fast_enough:
            missed.append(f"{self.target.faster:g}× is not reached.")
        return f"Target not met. {said} {' '.join(missed)}"

    @property
    def cascade_facts(self) -> list[tuple[str, str]]:
        """What a report says of each way of asking a cascade."""
        ways = self.cascade.ways if self.cascade else ()
        return [(f"Answered by the student, {way.way}", way.sentence) for way in ways]

    @property
    def int8_facts(self) -> list[tuple[str, str]]:
        """What a report says of weights in int8."""
        return [("Weights in int8", self.int8.sentence)] if self.int8 else []

    @property
    def timed_facts(self) -> list[tuple[str, str]]:
        """What a report says of how speeds were measured."""
        if self.timed is None:
            return []
        remote = "; the teacher's are those of its answers over the network" if self.over_network else ""
        return [("Speeds", f"{self.timed.sentence}{remote}")]

    @property
    def _named(self) -> str:
        name = f"{self.student}, int8" if self.int8 and self.int8.kept else self.student
        if self.cascade is None:
            return name
        return f"{name} with its teacher behind it, answering {self.cascade.share.value:.0%} itself"

    def _unshown(self) -> str:
        proof, within = self.proof, f"A loss below {self.target.within:g} points"
        if proof.rows_needed is None:
            return f"{within} is not shown, and more test rows would not show it."
        if proof.rows_needed <= proof.rows:
            return f"{within} is not shown; these rows had 80 % power to show it."
        return f"{within} is not provable with {proof.rows:,} rows; about {proof.rows_needed:,} are needed."


def pareto_front(points: list[tuple[float, float]]) -> list[bool]:
    """For each (speed, quality): whether no other is at least as good in both and better in one."""
    return [not any(o[0] >= p[0] and o[1] >= p[1] and o != p for o in points) for p in points]


def _range(found: Estimate, digits: int = 1) -> str:
    if found.low is None or found.high is None:
        return "no interval"
    return f"{found.low:.{digits}f} to {found.high:.{digits}f}"
