"""`generate`: the prompt in the form that the model was trained on, its stops, and sampling."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outcrop.cli.app import app
from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Conversation, Message, Pair
from outcrop.models.folder import CARD
from outcrop.models.loading import LoadedModel, load_model
from outcrop.workflows import generate as workflow
from outcrop.workflows.generate import generate, stream
from tests.generation.adapters import write_adapter
from tests.models.folders import edit, write_model
from tests.support.tiny import tiny_model

TEMPLATE = {"template": "Message: {prompt}\nIntent:", "column": "text"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The ids of every prompt that the engine is given."""
    seen: list[tuple[int, ...]] = []
    request = workflow.CompletionRequest

    def recorded(prompt_ids: tuple[int, ...], sampling: Any) -> Any:
        seen.append(prompt_ids)
        return request(prompt_ids, sampling)

    monkeypatch.setattr(workflow, "CompletionRequest", recorded)
    return seen


def ids(loaded: LoadedModel, record: Pair | Conversation) -> tuple[int, ...]:
    return tuple(loaded.renderer.prompt(record))


def test_a_base_model_goes_on_with_the_prompt(model: Path, asked: list[tuple[int, ...]]) -> None:
    loaded = load_model(str(model))
    answer = generate(str(model), "the card", max_new_tokens=5)
    assert asked == [ids(loaded, Pair("the card", ""))]
    assert 0 < len(answer.token_ids) <= 5
    assert answer.text == loaded.tokenizer.decode(answer.token_ids, skip_special_tokens=True)


def test_a_tuned_model_is_asked_through_its_template(model: Path, asked: list[tuple[int, ...]]) -> None:
    edit(model / CARD, kind="fine-tuned", prompt=TEMPLATE)
    loaded = load_model(str(model))
    generate(str(model), "hi {there}", max_new_tokens=1)
    assert asked == [ids(loaded, Pair("Message: hi {there}\nIntent:", ""))]


def test_a_model_tuned_on_conversations_is_asked_in_a_turn(model: Path, asked: list[tuple[int, ...]]) -> None:
    edit(model / CARD, kind="fine-tuned", prompt=None, conversations=True)
    loaded = load_model(str(model))
    generate(str(model), "hi", max_new_tokens=1)
    assert asked == [ids(loaded, Conversation((Message("user", "hi"),)))]


def test_messages_are_rendered_with_the_chat_template(model: Path, asked: list[tuple[int, ...]]) -> None:
    edit(model / CARD, rendering={"chat_template": "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"})
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    generate(str(model), turns, max_new_tokens=1)
    loaded = load_model(str(model))
    assert loaded.tokenizer.decode(asked[0]) == "a</s>b</s>c</s>"


def test_one_turn_asks_a_model_that_was_tuned_on_pairs_as_a_prompt(model: Path, asked: list[tuple[int, ...]]) -> None:
    edit(model / CARD, kind="fine-tuned", prompt=TEMPLATE)
    turn = Message("user", "the card")
    assert generate(str(model), [turn]).text == generate(str(model), "the card").text
    assert "".join(stream(str(model), (turn,))) == generate(str(model), "Message: the card\nIntent:").text
    assert set(asked) == {ids(load_model(str(model)), Pair("Message: the card\nIntent:", ""))}


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ([], "The prompt is []. Allowed: a text, or a list"),
        (None, "The prompt is None"),
        ([{"role": "user", "content": "hi"}], "Allowed: a text, or a list of outcrop.data.records.Message"),
        ([Message("foo", "hi")], "A turn has the role 'foo'"),  # type: ignore[arg-type]
        ([Message("user", "hi"), Message("assistant", "yo")], "The last turn is the assistant's. End with the turn"),
    ],
)
def test_what_is_no_prompt_is_refused(model: Path, prompt: Any, says: str) -> None:
    for ask in (generate, stream):
        with pytest.raises(UsageError, match=re.escape(says)):
            ask(str(model), prompt)


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"min_p": "0.3"}, "min_p is '0.3'. Allowed: a number"),
        ({"logit_bias": 5}, "logit_bias is 5. Give a mapping"),
        ({"logit_bias": None}, "logit_bias is None"),
        ({"logit_bias": {5: 1.0, "05": 2.0}}, "Token 5 has two biases"),
        ({"logit_bias": {5: 1e39}}, "Allowed: numbers from -1e+06 to 1e+06"),
        ({"repetition_penalty": 1e-300}, "Allowed: 0.01 to 100"),
    ],
)
def test_options_that_cannot_be_computed_with_are_refused(model: Path, sampling: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        generate(str(model), "the card", temperature=1.0, **sampling)


def test_a_stop_string_alone_is_one_stop(model: Path) -> None:
    free = generate(str(model), "the card")
    cut, never = free.text[2:4], f"{free.text[2]}§§"  # taken for characters, both would end the answer at the first
    for stop, text in ((cut, free.text.partition(cut)[0]), (never, free.text)):
        assert generate(str(model), "the card", stop_strings=stop).text == text
        assert generate(str(model), "the card", stop_strings=[stop]).text == text


def test_a_template_that_needs_more_than_a_prompt_says_so(model: Path) -> None:
    edit(model / CARD, prompt={"template": "{context} {prompt}", "column": "prompt"})
    with pytest.raises(UsageError, match=r"needs a value for \{context\}"):
        generate(str(model), "hi")


@pytest.mark.parametrize("prompt", ["\udcff bad", [Message("user", "\udcff bad")]])
def test_a_prompt_that_is_no_utf8_is_refused(model: Path, prompt: str | list[Message]) -> None:
    with pytest.raises(UsageError, match="Character 1 is not UTF-8"):
        generate(str(model), prompt)


def test_special_tokens_in_a_prompt_are_refused(model: Path) -> None:
    for prompt in ("x</s>", (Message("user", "x</s>"),)):
        with pytest.raises(DataError, match=r"^the prompt: The special token '</s>'"):
            generate(str(model), prompt)


def first_tokens(model: Path, count: int = 3, **sampling: Any) -> tuple[int, ...]:
    return generate(str(model), "the card", max_new_tokens=count, **sampling).token_ids


def test_an_answer_ends_at_the_stop_ids_of_the_renderer(model: Path) -> None:
    first = first_tokens(model)[0]
    edit(model / "generation_config.json", eos_token_id=[2, first])
    answer = generate(str(model), "the card", max_new_tokens=9)
    assert answer.token_ids == (first,)
    assert (answer.text, answer.finish_reason) == ("", "stop")


def test_sampling_options_reach_the_engine(model: Path) -> None:
    greedy, drawn = first_tokens(model, 8), first_tokens(model, 8, temperature=5.0, seed=1)
    assert drawn != greedy
    assert drawn == first_tokens(model, 8, temperature=5.0, seed=1)
    assert greedy == first_tokens(model, 8, temperature=5.0, top_k=1)
    answer = generate(str(model), "the card", max_new_tokens=8)
    stop = answer.text[2:4]
    assert (
        generate(str(model), "the card", max_new_tokens=8, stop_strings=(stop,)).text == answer.text.partition(stop)[0]
    )


def test_biases_and_penalties_reach_the_engine(model: Path) -> None:
    greedy = first_tokens(model, 8)
    assert greedy == first_tokens(model, 8, temperature=5.0, min_p=1.0)
    assert greedy[0] not in first_tokens(model, 8, logit_bias={greedy[0]: -100})
    assert first_tokens(model, 8, logit_bias={"7": 100.0}) == (7,) * 8 == first_tokens(model, 8, logit_bias=((7, 100),))
    repeated = first_tokens(model, 8, logit_bias={7: 100, 8: 99}, repetition_penalty=10.0)
    assert 8 in repeated


def test_an_option_that_sampling_does_not_have_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match=r"Unknown sampling field: min_pp. Did you mean: min_p\?"):
        generate(str(model), "the card", min_pp=0.1)


@pytest.mark.parametrize("kind", ["base", "fine-tuned"])
def test_streams_are_the_answer_in_pieces(model: Path, kind: str) -> None:
    edit(model / CARD, kind=kind)
    for seed in range(20):
        sampling: dict[str, Any] = {"max_new_tokens": 12, "temperature": 3.0, "seed": seed}
        whole = generate(str(model), "the card ", **sampling).text
        assert "".join(stream(str(model), "the card ", **sampling)) == whole
        assert kind == "base" or whole == whole.lstrip()


def test_a_folder_that_was_written_anew_is_loaded_anew(model: Path) -> None:
    before = generate(str(model), "the card", max_new_tokens=8).logprobs
    assert generate(str(model), "the card", max_new_tokens=8).logprobs == before
    write_model(model, seed=1)
    os.utime(model / "model.safetensors", ns=(1, 1))
    assert generate(str(model), "the card", max_new_tokens=8).logprobs != before


def test_an_adapter_whose_base_was_written_anew_is_loaded_anew(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", model, tiny_model(), seed=1).name
    before = generate(adapter, "the card", max_new_tokens=8).logprobs
    assert generate(adapter, "the card", max_new_tokens=8).logprobs == before
    write_model(model, seed=1)
    os.utime(model / "model.safetensors", ns=(1, 1))
    assert generate(adapter, "the card", max_new_tokens=8).logprobs != before


def run(*args: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["generate", *args], input=stdin, prog_name="outcrop")


def test_the_command_prints_what_the_function_returns(model: Path) -> None:
    wanted = generate(str(model), "the card", max_new_tokens=6)
    args = ("--model", str(model), "--prompt", "the card", "--max-new-tokens", "6")
    done = run(*args)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == wanted.text + "\n"
    assert json.loads(run(*args, "--output", "json").stdout)["token_ids"] == list(wanted.token_ids)


def test_a_conversation_carries_its_turns(model: Path, asked: list[tuple[int, ...]]) -> None:
    done = run("--model", str(model), "--chat", "--system", "short", "--max-new-tokens", "4", stdin="one\ntwo\n")
    assert done.exit_code == 0, done.stderr
    loaded = load_model(str(model))
    [first, second] = [loaded.tokenizer.decode(prompt) for prompt in asked]
    assert first == "System: short\nUser: one\nAssistant:"
    assert second.startswith("System: short\nUser: one\nAssistant: ")
    assert second.endswith("</s>\nUser: two\nAssistant:")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--model", "/nowhere/at-all", "--prompt", "x"), "There is no model folder"),
        (("--model", "MODEL", "--prompt", "x</s>"), "The special token"),
        (("--model", "MODEL", "--prompt", ""), "The prompt has no tokens"),
        (("--model", "MODEL", "--prompt", "x " * 300), "context of 256 tokens is exceeded"),
        (("--model", "MODEL", "--prompt", "x", "--top-p", "0"), "top_p is 0"),
        (("--model", "MODEL", "--prompt", "x", "--repetition-penalty", "0"), "Allowed: 0.01 to 100"),
        (("--model", "MODEL", "--prompt", "x", "--min-p", "1.5"), "--min-p': Input should be less than or equal to 1"),
        (("--model", "MODEL", "--prompt", "x", "--logit-bias", "5=1,300=2"), "Allowed: token ids below 300"),
        (("--model", "MODEL", "--prompt", "x", "--logit-bias", "5=inf"), "numbers from -1e+06"),
        (("--model", "MODEL", "--prompt", "x", "--logit-bias", "card=1"), "'card' is no token id"),
        (("--model", "MODEL", "--prompt", "x", "--logit-bias", "5"), "Write a token id and a number"),
        (("--model", "MODEL", "--prompt", "x", "--logit-bias", "5=1", "--logit-bias", "05=2"), "twice"),
    ],
)
def test_mistakes_are_told(model: Path, args: tuple[str, ...], says: str) -> None:
    done = run(*(str(model) if arg == "MODEL" else arg for arg in args))
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
