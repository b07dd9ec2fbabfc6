"""`distill --student labels`: a head over the labels, learnt from the teacher's shares of them, asked as any model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import outcrop
from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.data.records import Pair
from outcrop.generation.cascade import engine_of
from outcrop.models.loading import load_model
from outcrop.training.distillation.objective import Distillation
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.workflows.distill import DistillResult
from outcrop.workflows.students import examples_of, from_teacher
from outcrop.workflows.teachers import LocalTeacher, open_cache
from outcrop.workflows.teaching import explained, with_choices
from tests.support.training import spec
from tests.workflows.test_distill_cascade import FAST, TEMPLATE, tuned, written

LABELS = ("card", "fee", "refund")


@pytest.fixture(scope="module")
def teacher(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return tuned(base, tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def made(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DistillResult]:
    folder = tmp_path_factory.mktemp("made")
    result = outcrop.distill(
        teacher, [written(folder, 200)], str(folder / "out"), faster=0.01, students=["labels"],
        settings={**FAST, "epochs": 3}, int8="never",
    )  # fmt: skip
    return str(folder / "out"), result


@pytest.mark.parametrize("states_weight", [0.0, 0.5])
def test_the_loss_is_the_divergence_of_the_teachers_shares(teacher: str, states_weight: float) -> None:
    """Beside autograd: KL of the teacher's softmax over its labels' likelihoods, at temperature 2; and where the
    states are weighed, 1 − cosine of what both hold at the end of the prompt."""
    chosen = DistillationSpec(gold_share=0.0, temperature=2.0, states_weight=states_weight)
    rows = [Pair(f"Message: {number} my card\nIntent:", LABELS[number % 3]) for number in range(4)]
    local = LocalTeacher(load_model(teacher), open_cache(), lambda event: None, weighed=1.0)
    plain = explained(local, local.loaded.renderer, rows, chosen, 0)
    lessons = with_choices(local, plain, LABELS, chosen)
    student = from_teacher(local.loaded, rows, trimmed=True, labels=LABELS)[2]
    loaded, other = student.make(), student.make()
    assert student.label_ids is not None
    engine = TrainingEngine(loaded.model, spec(), torch.float32, Distillation(chosen))
    found, _ = engine.gradient(examples_of(student, loaded, lessons), 0)
    expected, apart, whole = torch.zeros(()), torch.zeros(()), load_model(teacher).model
    for record in rows:
        likelihoods = local.label_logprobs([record], LABELS)[0]
        p = torch.from_numpy(likelihoods / 2).softmax(-1)
        ids = torch.tensor([other.renderer.prompt(record)])
        q = (other.model(input_ids=ids).logits[0, -1] / 2).log_softmax(-1)[list(student.label_ids)]
        expected = expected + 4 * (p * (p.log() - q)).sum() / len(rows)
        asked = torch.tensor([local.loaded.renderer.prompt(record)])
        theirs = whole.model(input_ids=asked).last_hidden_state[0, -1].detach().half().float()
        ours = other.model.model(input_ids=ids).last_hidden_state[0, -1]
        apart = apart + states_weight * (1 - torch.cosine_similarity(ours, theirs, dim=-1)) / len(rows)
    (expected + apart).backward()
    assert found == pytest.approx(float(expected.detach()), rel=1e-4)
    for name, parameter in other.model.named_parameters():
        torch.testing.assert_close(engine.flat.slots[name].of(engine.flat.grad), parameter.grad, rtol=1e-3, atol=1e-6)


def test_a_request_is_one_prefill(made: tuple[str, DistillResult]) -> None:
    loaded = load_model(made[0])
    engine = engine_of(loaded)
    record = Pair("Message: 17 return the money 4\nIntent:", "")
    prompt = tuple(loaded.renderer.prompt(record))
    sampling = Sampling(max_new_tokens=20, stop_ids=loaded.renderer.stop_ids)
    (found,) = engine.complete([CompletionRequest(prompt, sampling)])
    assert found.text.strip() in LABELS
    assert (len(found.token_ids), found.finish_reason) == (1, "stop")
    assert engine.scheduler.computed_tokens == len(prompt)
    candidates = tuple(tuple(loaded.renderer.answer(record, label)) for label in LABELS)
    engine.forget_prompts()
    (scores,) = engine.score([ScoreRequest(prompt, candidates)])
    assert engine.scheduler.computed_tokens == 2 * len(prompt)
    assert LABELS[int(np.argmax([score.logprob for score in scores]))] == found.text.strip()
    assert max(score.logprob for score in scores) == pytest.approx(found.logprobs[0], abs=1e-4)
    assert sum(np.exp(score.logprob) for score in scores) == pytest.approx(1)
    (ranked,) = engine.complete([CompletionRequest(prompt, replace(sampling, top_logprobs=20))])
    assert [len(top) for top in ranked.top_logprobs] == [len(LABELS)]
    drawn = engine.complete([CompletionRequest(prompt, replace(sampling, temperature=5.0, seed=n)) for n in range(20)])
    assert {each.text.strip() for each in drawn} == set(LABELS)


def test_every_verb_takes_it(made: tuple[str, DistillResult], tmp_path: Path) -> None:
    place, result = made
    assert "one token per label" in result.student
    assert "over all 3 labels (those with 99% of the likelihood weighed exactly, the others est" in result.facts.method
    assert "the direction of its last hidden states, weight 5" in result.facts.method
    assert result.facts.timed is not None
    assert result.facts.timed.sentence in (Path(place) / "report.html").read_text()
    assert result.facts.learnt
    assert result.facts.proof.metric == "accuracy"
    assert outcrop.generate(place, "17 return the money 4").text in LABELS
    assert "".join(outcrop.stream(place, "17 return the money 4")) in LABELS
    rows = written(tmp_path, 12)
    answers = outcrop.batch(place, [rows], str(tmp_path / "answers"), columns="prompt=text", template=TEMPLATE)
    assert (answers.succeeded, answers.generated_tokens) == (12, 12)
    scored = outcrop.evaluate([place], [rows], str(tmp_path / "scores"))
    assert set(scored.systems[0].answers) <= set(LABELS)


def test_it_is_beside_the_others_in_one_search(teacher: str, tmp_path: Path) -> None:
    result = outcrop.distill(
        teacher, [written(tmp_path, 60)], str(tmp_path / "out"), faster=0.01, students=["auto", "labels"],
        settings={**FAST, "max_steps": 2}, relabel=True, int8="never",
    )  # fmt: skip
    heads = [candidate for candidate in result.facts.candidates if "one token per label" in candidate.name]
    assert 0 < len(heads) < len(result.facts.candidates)


def test_what_does_not_go_with_it_is_refused(teacher: str, tmp_path: Path) -> None:
    def distill(**more: object) -> None:
        arguments = {"students": ["labels"], "settings": FAST, **more}
        outcrop.distill(teacher, [written(tmp_path, 60)], str(tmp_path / "out"), **arguments)  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="A cascade needs"):
        distill(cascade=True)
    with pytest.raises(UsageError, match="student's own"):
        distill(objective={"on_policy_share": 0.5})


def test_rows_are_scored_among_the_labels_as_they_will_be_asked(teacher: str) -> None:
    loaded = load_model(teacher)
    rows = [Pair(f"Message: {number} my card\nIntent:", LABELS[number % 3]) for number in range(12)]
    student = from_teacher(loaded, rows, trimmed=True, labels=LABELS)[0]
    made = student.make()
    lessons = explained(LocalTeacher(loaded, open_cache(), lambda event: None), loaded.renderer, rows, None, 0)
    examples = examples_of(student, made, lessons)
    asked = engine_of(made)
    requests = [
        ScoreRequest(tuple(made.renderer.prompt(row)), tuple(tuple(made.renderer.answer(row, each)) for each in LABELS))
        for row in rows
    ]
    scores = [[each.logprob for each in of_row] for of_row in asked.score(requests)]
    right = [LABELS[int(np.argmax(each))] == row.completion for each, row in zip(scores, rows, strict=True)]
    expected = -np.mean([each[LABELS.index(row.completion)] for each, row in zip(scores, rows, strict=True)])
    engine = TrainingEngine(made.model, spec(), torch.float32)
    assert student.label_ids is not None
    engine.answers_from = min(student.label_ids)
    found = engine.evaluate(examples)
    assert found.loss == pytest.approx(expected, abs=1e-4)
    assert found.exact_match == pytest.approx(np.mean(right))


def test_what_is_left_unweighed_changes_the_shares_by_no_more_than_was_said(teacher: str) -> None:
    loaded = load_model(teacher)
    rows = [Pair(f"Message: {number} my card\nIntent:", LABELS[number % 3]) for number in range(12)]
    whole, part = (
        LocalTeacher(loaded, open_cache(), lambda event: None, weighed=weighed).label_logprobs(rows, LABELS)
        for weighed in (1.0, 0.9)
    )
    shares = [np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in (whole, part)]
    assert np.abs(shares[0] - shares[1]).sum(-1).max() <= 2 * 0.1
    assert (whole.argmax(-1) == part.argmax(-1)).all()
