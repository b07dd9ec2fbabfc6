"""`classify`: the softmax of what each whole label is as the answer, whatever is asked beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from outcrop.cli.app import app
from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Conversation, Message, Pair, Record
from outcrop.models.folder import CARD
from outcrop.models.label_tokens import with_label_tokens
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card, save_tokenizer, save_weights
from outcrop.workflows.classify import Classification, classify
from tests.generation.adapters import write_adapter
from tests.models.folders import edit, write_model
from tests.support.tiny import tiny_model

LABELS = ("card", "card fee", "the money", "a", "Überweisung")
TURNS = (Message("system", "my money"), Message("user", "the card"), Message("assistant", "a"), Message("user", "fee"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a token for each label."""
    made = with_label_tokens(load_model("bundled:pebble-s"), LABELS)
    folder = tmp_path_factory.mktemp("student")
    save_weights(made, {}, folder, torch.float32)
    save_tokenizer(made, folder)
    save_card(folder, made, {"kind": "distilled", "labels": list(LABELS)})
    return str(folder)


def naive(loaded: LoadedModel, record: Record, labels: Sequence[str]) -> list[float]:
    """The log-likelihood of each label, one forward pass for each."""
    found = []
    prompt = loaded.renderer.prompt(record)
    for label in labels:
        answer = loaded.renderer.answer(record, label)
        with torch.no_grad():
            logprobs = loaded.model(torch.tensor([[*prompt, *answer]])).logits[0].float().log_softmax(-1)
        found.append(sum(logprobs[len(prompt) - 1 + at, token].item() for at, token in enumerate(answer)))
    return found


def assert_is(found: Classification, logprobs: Sequence[float], labels: Sequence[str]) -> None:
    """The softmax of these, the likeliest first."""
    expected = dict(zip(labels, torch.tensor(logprobs, dtype=torch.float64).softmax(0).tolist(), strict=True))
    assert {each.label: each.probability for each in found.labels} == pytest.approx(expected, abs=1e-4)
    wanted = dict(zip(labels, logprobs, strict=True))
    assert {each.label: each.logprob for each in found.labels} == pytest.approx(wanted, abs=1e-4)
    assert sum(each.probability for each in found.labels) == pytest.approx(1, abs=1e-12)
    assert [each.label for each in found.labels] == sorted(wanted, key=lambda label: -wanted[label])
    assert (found.label, found.probability) == found.labels[0][:2]


def test_a_prompt_equals_one_plain_forward_pass_for_each_label(model: Path) -> None:
    loaded = load_model(str(model))
    for prompt in ("the card", "my money "):
        assert_is(classify(str(model), prompt, LABELS), naive(loaded, Pair(prompt, ""), LABELS), LABELS)


def test_turns_with_a_system_message_are_a_prompt_too(model: Path) -> None:
    expected = naive(load_model(str(model)), Conversation(TURNS), LABELS)
    assert_is(classify(str(model), TURNS, LABELS), expected, LABELS)
    assert_is(classify(str(model), ["fee", list(TURNS)], LABELS)[1], expected, LABELS)


def test_a_tuned_model_is_asked_as_it_was_trained_and_knows_its_labels(model: Path) -> None:
    edit(
        model / CARD, kind="fine-tuned", labels=list(LABELS),
        prompt={"template": "Message: {prompt}\nIntent:", "column": "text"},
    )  # fmt: skip
    expected = naive(load_model(str(model)), Pair("Message: the card\nIntent:", ""), LABELS)
    assert_is(classify(str(model), "the card"), expected, LABELS)
    assert len(classify(str(model), "the card", ("card", "a")).labels) == 2


def test_an_adapter_weighs_as_merged(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", model, tiny_model(), seed=1).name
    found = classify(adapter, "the card", LABELS)
    assert_is(found, naive(load_model(adapter), Pair("the card", ""), LABELS), LABELS)
    assert found != classify(str(model), "the card", LABELS)


def test_one_turn_asks_a_model_that_was_tuned_on_pairs_as_a_prompt(model: Path) -> None:
    edit(model / CARD, kind="fine-tuned", prompt={"template": "Message: {prompt}\nIntent:", "column": "text"})
    asked = classify(str(model), "the card", LABELS)
    turned = classify(str(model), [Message("user", "the card")], LABELS)
    assert [each.logprob for each in turned.labels] == pytest.approx([each.logprob for each in asked.labels], abs=1e-5)
    assert_is(asked, naive(load_model(str(model)), Pair("Message: the card\nIntent:", ""), LABELS), LABELS)


@pytest.mark.parametrize(
    ("prompts", "labels", "says"),
    [
        ([[]], LABELS, "The prompt is []"),
        (None, LABELS, "The prompt is None"),
        ("the", None, "labels is None. Give a list of texts"),
        ("the", ["a", 1], "1 is no label. Give a list of texts"),
        (["the"] * 3 + ["the card " * 400], LABELS, "prompts:4: The prompt has"),
    ],
)
def test_mistakes_of_callers_are_told(model: Path, prompts: Any, labels: Any, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        classify(str(model), prompts, labels)
    assert says in str(refused.value)


def test_the_order_of_labels_changes_nothing(model: Path) -> None:
    assert classify(str(model), "the card", LABELS) == classify(str(model), "the card", reversed(LABELS))


def test_other_prompts_change_nothing(model: Path) -> None:
    prompts = [f"the card {number} {'my money ' * number}" for number in range(5)]
    for prompt, found in zip(prompts, classify(str(model), prompts, LABELS), strict=True):
        alone = classify(str(model), prompt, LABELS)
        assert [each.label for each in found.labels] == [each.label for each in alone.labels]
        assert [each.logprob for each in found.labels] == pytest.approx(
            [each.logprob for each in alone.labels], abs=1e-5
        )
    assert classify(str(model), [], LABELS) == []


def test_more_prompts_than_are_scored_together_keep_their_order(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [f"the card {number}" for number in range(5)]
    together = classify(str(model), prompts, LABELS)
    monkeypatch.setattr("outcrop.workflows.classify.SCORED_TOGETHER", 2)
    apart = classify(str(model), prompts, LABELS)
    for one, other in zip(together, apart, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_a_label_that_begins_another_is_as_likely_as_its_own_end(model: Path) -> None:
    """One that never ends has no likelihood of its own, only what follows it."""
    loaded = load_model(str(model))
    prompt = loaded.renderer.prompt(Pair("the", ""))
    ids = loaded.renderer.answer(Pair("the", ""), "card")
    with torch.no_grad():
        logprobs = loaded.model(torch.tensor([[*prompt, *ids]])).logits[0].float().log_softmax(-1)
    end = logprobs[len(prompt) + len(ids) - 2, ids[-1]].item()
    beginning = naive(loaded, Pair("the", ""), ["card"])[0] - end
    found = {each.label: each.logprob for each in classify(str(model), "the", ("card", "card fee")).labels}
    assert found["card"] == pytest.approx(beginning + end, abs=1e-4)
    assert found["card fee"] < beginning


def test_labels_that_are_tokens_are_a_softmax_over_these(student: str) -> None:
    loaded = load_model(student)
    for prompt in ("the card", list(TURNS)):
        record: Record = Pair(prompt, "") if isinstance(prompt, str) else Conversation(tuple(prompt))
        with torch.no_grad():
            logits = loaded.model(torch.tensor([loaded.renderer.prompt(record)])).logits[0, -1].double()
        ids = [loaded.renderer.spec.label_tokens[label] for label in LABELS]
        found = classify(student, prompt)  # type: ignore[call-overload]
        assert_is(found, logits[ids].log_softmax(0).tolist(), LABELS)
    assert {each.label for each in classify(student, "the card", ("a", "card")).labels} == {"a", "card"}
    with pytest.raises(UsageError, match=r"The model has no token for: 'refund'; it has 'card', 'card fee'"):
        classify(student, "the card", ("card", "refund"))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ((), "was not made for a closed set of labels. Name those to weigh"),
        (("a", " ", ""), r"Label 2 is empty\. Label 3 is empty"),
        (("a", "b", " a "), "given more than once: 'a'"),
        (("a", "", "b", "b", "x</s>"), r"Label 2 is empty.*once: 'b'.*special tokens of the model: 'x</s>'"),
        ("card", "labels is 'card'. Give a list"),
        (("a", "\udcff"), "Character 1 is not UTF-8"),
    ],
)
def test_labels_that_cannot_be_weighed_are_named(model: Path, labels: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        classify(str(model), "the card", labels)


def test_labels_of_the_same_tokens_are_refused(model: Path) -> None:
    edit(model / "tokenizer.json", normalizer={"type": "NFC"})
    with pytest.raises(UsageError, match="are the same to this model"):
        classify(str(model), "the card", ("caf\u00e9", "cafe\u0301"))


def test_a_prompt_that_cannot_be_asked_is_named_by_its_number(model: Path) -> None:
    with pytest.raises(DataError, match=r"^prompts:2: The special token"):
        classify(str(model), ["fine", "x</s>"], LABELS)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["generate", *args], prog_name="outcrop")


def test_the_command_prints_what_the_function_returns(model: Path) -> None:
    wanted = classify(str(model), "the card", ("card", "a"))
    args = ("--model", str(model), "--prompt", "the card", "--classify", "--label", "card", "--label", "a")
    done = run(*args)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split() == [
        part for each in wanted.labels for part in (f"{each.probability:.4f}", each.label)
    ]
    found = json.loads(run(*args, "--output", "json").stdout)
    assert found == wanted.as_dict() | {"labels": [each._asdict() for each in wanted.labels]}
    assert math.isclose(sum(each["probability"] for each in found["labels"]), 1)
