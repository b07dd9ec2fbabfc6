"""What a distillation says of itself, and its plot."""

from __future__ import annotations

from dataclasses import replace

from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Candidate, DistillationFacts, Proof, Speed, Target, Timed, pareto_front
from outcrop.evaluation.pareto import pareto_figure

SPEED = Speed(10.0, 50.0, 1_000_000, 4.0)


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01, 100, "Wilson")


def facts(
    loss: float, bound: float, times: float, needed: int | None = 900, *, learnt: bool = True
) -> DistillationFacts:
    proof = Proof("accuracy", loss, bound, bound < 0.02, 500, needed, "Tango score", estimate(0.9))
    candidates = (
        Candidate("small", SPEED, 8.0, 7.0, estimate(0.8), 100, "trained wholly", True, int8=True),
        Candidate("slow", SPEED, 1.5, 1.2, None, 0, "slower than 5×"),
    )
    return DistillationFacts(
        Target(2, 5), "by distributions", "big", "small", candidates, proof, estimate(times), estimate(times + 1),
        {"teacher": SPEED}, (1.0, 0.1 if learnt else 1.0), learnt, "forward kl", 10, 0, timed=Timed(40, 300, 5),
    )  # fmt: skip


def test_a_target_that_is_met() -> None:
    found = facts(0.001, 0.015, 6.0)
    assert found.target_met
    assert found.verdict.startswith("Target met. small: 6.0× faster")
    assert "at most 1.5 lower with 95 % confidence" in found.verdict


def test_what_is_missing_is_said() -> None:
    assert "about 900 are needed" in facts(0.001, 0.03, 6.0).verdict
    assert "5× is not reached" in facts(0.001, 0.015, 4.0).verdict
    assert "more test rows would not show it" in facts(0.03, 0.05, 6.0, None).verdict
    assert "had 80 % power" in facts(0.01, 0.03, 6.0, 400).verdict
    assert not facts(0.001, 0.015, 4.0).target_met


def test_a_distillation_that_did_nothing_is_said() -> None:
    found = facts(0.001, 0.015, 6.0, learnt=False)
    assert found.verdict.startswith("This distillation did nothing")
    assert not found.target_met


def test_a_remote_teacher_is_never_called_slow_without_its_network() -> None:
    assert "network included" in replace(facts(0.001, 0.015, 6.0), over_network=True).verdict


def test_what_speeds_were_measured_on_is_said() -> None:
    [(_, said)] = facts(0.001, 0.015, 6.0).timed_facts
    assert "outcrop batch on 300 prompts" in said
    [(_, said)] = replace(facts(0.001, 0.015, 6.0), over_network=True).timed_facts
    assert "over the network" in said
    assert replace(facts(0, 0, 1), timed=None).timed_facts == []


def test_facts_come_back_from_json() -> None:
    found = facts(0.001, 0.015, 6.0)
    assert DistillationFacts.from_dict(found.as_dict()) == found


def test_the_front_holds_what_none_beats_in_both() -> None:
    assert pareto_front([(1, 0.9), (5, 0.8), (4, 0.7), (5, 0.8), (9, 0.1)]) == [True, True, False, True, True]


def test_the_plot_shows_what_was_trained() -> None:
    figure = pareto_figure(facts(0.001, 0.015, 6.0))
    assert figure is not None
    assert "small: 7.0×, 0.800" in figure.wide
    assert "slow" not in figure.wide
    untried = tuple(replace(c, quality=None) for c in facts(0, 0, 1).candidates)
    assert pareto_figure(replace(facts(0, 0, 1), candidates=untried)) is None
