"""This server as somebody's remote teacher: what it tells of its tokens is what a teacher here says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.core.events import ignore
from outcrop.data.prompts import with_answer
from outcrop.data.records import Conversation, Message
from outcrop.generation.remote import RemoteChat
from outcrop.models.loading import load_model
from outcrop.service.bedrock.runtime.state import PART, Runtime
from outcrop.service.inference.pool import Pool
from outcrop.service.spec import ServeSpec
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.layout import Teaching
from outcrop.workflows.hearing import listen
from outcrop.workflows.teachers import LocalTeacher, RemoteTeacher, open_cache
from outcrop.workflows.teaching import explained
from tests.support.runtime import PATIENT, TINY
from tests.support.servers import running

pytestmark = pytest.mark.contract

FAST = {"epochs": 3, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}
ACCEPTED = {"teacher": "any", "accepted": "2026-11-26", "how": "accept_teacher_terms"}
INTENTS = ("card é", "refund", "fee")


def conversation(number: int, answer: str = "") -> Conversation:
    words = ["my card has not arrived", "please return the money", "why was I charged a fee"][number % 3]
    turns = [Message("user", f"{number} {words} {number * 7 % 90}")]
    return Conversation((*turns, Message("assistant", answer)) if answer else tuple(turns))


def as_rows(records: list[Conversation], path: Path) -> str:
    lines = [{"messages": [{"role": t.role, "content": t.content} for t in each.messages]} for each in records]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def teacher(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    rows = as_rows([conversation(n, INTENTS[n % 3]) for n in range(60)], folder / "rows.jsonl")
    outcrop.tune(base, [rows], str(folder / "model"), settings={**FAST, "epochs": 8})
    return str(folder / "model")


@pytest.fixture(scope="module")
def remote(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its name behind a server of ours; the key is in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("server-home")))
        with running(ServeSpec(start_controller=False, models=(f"{TINY}={teacher}",))) as server:
            server.service.parts[PART] = runtime = Runtime(server.service, Pool(PATIENT))
            server.service.closing.push_async_callback(runtime.close)
            patch.setenv("OPENAI_API_KEY", server.keys.bearer)
            yield f"openai:{TINY}@{server.url}/v1"


def test_what_is_told_is_the_teacher_s_own_distribution(teacher: str, remote: str, base: str) -> None:
    afar = RemoteTeacher(RemoteChat(remote), open_cache(), ignore, terms=ACCEPTED)
    here = LocalTeacher(load_model(teacher), open_cache(), ignore)
    asked = [conversation(n) for n in range(100, 112)]
    answers = afar.answers(asked, None, 16)
    assert answers == here.answers(asked, None, 16)
    assert set(answers) <= set(INTENTS)
    records = [with_answer(record, str(answer)) for record, answer in zip(asked, answers, strict=True)]
    renderer, spec = load_model(base).renderer, DistillationSpec(kept_tokens=20, kept_mass=1)
    ear, why, sentence = listen(afar, renderer, records, None, spec)
    assert ear is not None, why
    assert sentence == "The teacher told the likeliest tokens at every place for 12 of 12 training rows."
    for told, said in zip(
        explained(afar, renderer, records, spec, 0, ear), explained(here, renderer, records, spec, 0), strict=True
    ):
        np.testing.assert_array_equal(told.answer_ids, said.answer_ids)
        assert told.teaching is not None
        assert said.teaching is not None
        here_too, end = dense(said.teaching), dense(told.teaching)[-1]
        np.testing.assert_allclose(dense(told.teaching)[:-1], here_too[:-1], atol=2e-3)
        assert end.max() == end[told.answer_ids[-1]] == 1  # the token that ends an answer is not told


def dense(teaching: Teaching) -> Any:
    """Probabilities over all tokens."""
    found = np.zeros((len(teaching.rest), 300))
    np.add.at(found, (np.arange(len(found))[:, None], teaching.ids), teaching.probabilities)
    return found


@pytest.mark.parametrize("labelled", [False, True])
def test_a_student_learns_from_its_distribution(remote: str, base: str, tmp_path: Path, labelled: bool) -> None:
    rows = [conversation(n, INTENTS[n % 3] if labelled else "") for n in range(90)]
    result = outcrop.distill(
        remote, [as_rows(rows, tmp_path / "rows.jsonl")], str(tmp_path / "out"), students=[base], faster=0.01,
        relabel=labelled, settings={**FAST, "epochs": 2}, accept_teacher_terms=True, int8="never",
    )  # fmt: skip
    assert result.facts.method.startswith("by distributions")
    assert result.facts.divergence[1] < result.facts.divergence[0] / 2
    what = "its distribution over the labels" if labelled else "the likeliest tokens at every place"
    assert any(note.startswith(f"The teacher told {what}") for note in result.notes)


def test_a_student_with_other_tokens_learns_labels_from_their_distribution_too(remote: str, tmp_path: Path) -> None:
    rows = as_rows([conversation(n, INTENTS[n % 3]) for n in range(90)], tmp_path / "rows.jsonl")
    result = outcrop.distill(
        remote, [rows], str(tmp_path / "out"), students=["bundled:pebble-s"], faster=0.01, relabel=True,
        settings={"max_steps": 3}, accept_teacher_terms=True, int8="never",
    )  # fmt: skip
    assert result.facts.method.startswith("by distributions")


@pytest.mark.parametrize(
    ("objective", "asked", "why"),
    [
        ({"temperature": 2}, {}, "temperature 1 alone"),
        ({"signal": "sampled"}, {}, "not draws"),
        ({}, {"top_logprobs": 0}, "top_logprobs=0"),
    ],
)
def test_where_it_cannot_be_used_answers_alone_are_learnt_and_the_reason_is_said(
    remote: str, base: str, tmp_path: Path, objective: dict[str, Any], asked: dict[str, Any], why: str
) -> None:
    rows = as_rows([conversation(n) for n in range(90)], tmp_path / "rows.jsonl")
    result = outcrop.distill(
        remote, [rows], str(tmp_path / "out"), students=[base], faster=0.01, objective=objective, remote=asked,
        settings={"max_steps": 2}, accept_teacher_terms=True, int8="never",
    )  # fmt: skip
    assert result.facts.method.startswith("by sequences")
    assert why in result.facts.method
    assert any(note.startswith("Students learn from the teacher's answers alone") for note in result.notes)
