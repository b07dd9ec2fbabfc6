"""What teacher and student cost to run, what the distillation cost, and after how many requests that is paid for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from outcrop.core.results import JsonReady
from outcrop.evaluation.notation import figures

SECONDS_OF_AN_HOUR = 3600
UNPRICED_TEACHER = "the teacher's price is not known: give --remote input_price and output_price"
UNPRICED_MACHINE = "the price of this machine is not known: give --hourly-price"
NO_SAVING = "never, because a request costs the student no less than the teacher"


@dataclass(frozen=True)
class RunningCost(JsonReady):
    """Of 1,000 requests. machine_s: seconds of this machine, None for a model elsewhere; usd: None without a price;
    output_tokens: the mean of one answer, None where nobody counted."""

    machine_s: float | None
    usd: float | None
    output_tokens: float | None


@dataclass(frozen=True)
class Cost(JsonReady):
    """A distillation as an investment.

    hourly_price: USD for an hour of this machine, as given; stages_s: seconds of this machine by stage, of all attempts
    of the run; machine_s: their sum; answers_usd: for a remote teacher's answers, None without its price;
    usd: of the whole distillation, None where a price is missing;
    break_even: requests after which the saving has paid for the distillation, None where `why_not` says why;
    break_even_hours: what these requests would have taken a local teacher on this machine.
    """

    hourly_price: float | None
    teacher: RunningCost
    student: RunningCost
    stages_s: dict[str, float]
    machine_s: float
    answers_usd: float | None
    usd: float | None
    break_even: int | None
    break_even_hours: float | None
    why_not: str = ""

    @property
    def sentence(self) -> str:
        """Cost per 1,000 requests before and after, cost of the distillation, and when it is paid for."""
        before, after = _running(self.teacher), _running(self.student)
        whole = f"{figures(self.machine_s)} seconds of this machine"
        if self.usd is not None:
            whole += f", {figures(self.usd)} USD"
        elif self.answers_usd is not None:
            whole += f" and {figures(self.answers_usd)} USD for answers"
        said = f"1,000 requests: {before} with the teacher, {after} with the student. The distillation took {whole}"
        if self.break_even is None:
            return f"{said}. When it is paid for: {self.why_not}."
        hours = f" ({figures(self.break_even_hours)} hours of the teacher)" if self.break_even_hours is not None else ""
        return f"{said}; it is paid for after {self.break_even:,} requests{hours}."


def reckon(
    teacher: RunningCost, student: RunningCost, stages_s: Mapping[str, float], *, hourly_price: float | None,
    answers_usd: float | None = None,
) -> Cost:  # fmt: skip
    """The whole account. A local teacher (machine_s is known) and its student need no price to break even, for the
    price of their common machine falls out; a remote one needs both prices.

    teacher.usd: given for a remote one; that of models on this machine follows from their seconds.
    """
    machine_s, is_remote = sum(stages_s.values()), teacher.machine_s is None
    teacher, student = (_priced(running, hourly_price) for running in (teacher, student))
    machine_usd = _usd(machine_s, hourly_price)
    unpriced = machine_usd is None or (is_remote and answers_usd is None)
    usd = None if unpriced or machine_usd is None else machine_usd + (answers_usd or 0)
    requests, why_not = _break_even(teacher, student, machine_s, usd)
    hours = None
    if requests is not None and teacher.machine_s is not None:
        hours = requests / 1000 * teacher.machine_s / SECONDS_OF_AN_HOUR
    return Cost(
        hourly_price, teacher, student, dict(stages_s), machine_s, answers_usd, usd, requests, hours, why_not
    )


def _break_even(
    teacher: RunningCost, student: RunningCost, machine_s: float, usd: float | None
) -> tuple[int | None, str]:
    assert student.machine_s is not None, "students compute on this machine"
    if teacher.machine_s is not None:
        whole, saved = machine_s, teacher.machine_s - student.machine_s
    elif teacher.usd is None:
        return None, UNPRICED_TEACHER
    elif student.usd is None or usd is None:
        return None, UNPRICED_MACHINE
    else:
        whole, saved = usd, teacher.usd - student.usd
    return (math.ceil(1000 * whole / saved), "") if saved > 0 else (None, NO_SAVING)


def _priced(running: RunningCost, hourly_price: float | None) -> RunningCost:
    if running.machine_s is None:
        return running
    return RunningCost(running.machine_s, _usd(running.machine_s, hourly_price), running.output_tokens)


def _usd(machine_s: float, hourly_price: float | None) -> float | None:
    return None if hourly_price is None else machine_s * hourly_price / SECONDS_OF_AN_HOUR


def _running(cost: RunningCost) -> str:
    told = [f"{figures(cost.machine_s)} seconds of this machine"] if cost.machine_s is not None else []
    told += [f"{figures(cost.usd)} USD"] if cost.usd is not None else []
    return " or ".join(told) or "an unknown price"
