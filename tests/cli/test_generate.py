"""`outcrop generate`: one answer, and conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from outcrop.core.completions import Completion, Sampling
from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Message
from outcrop.workflows.classify import Classification, WeighedLabel


def test_text_is_printed_as_it_comes(command) -> None:
    command.provide("stream", lambda *_, **__: iter(["Good ", "day", "."]))
    done = command("generate", "--model", "m", "--prompt", "Hello")
    assert done.stdout == "Good day.\n"
    assert done.stderr == ""


def test_defaults_are_those_of_sampling(command) -> None:
    command.provide("stream", lambda *_, **__: iter(()))
    command("generate", "--model", "m", "--prompt", "Hello")
    [(_, arguments)] = command.calls
    del arguments["positional"]
    assert Sampling(**arguments) == Sampling()


def test_json_has_the_whole_completion(command) -> None:
    completion = Completion("Hi", (1, 2), (-0.1, -0.2), "stop", 3, 0.01)
    command.provide("generate", lambda *_, **__: completion)
    found = json.loads(command("generate", "--model", "m", "--prompt", "Hello", "--output", "json").stdout)
    assert found["text"] == "Hi"
    assert found["token_ids"] == [1, 2]
    assert found["finish_reason"] == "stop"


def test_the_prompt_can_come_from_standard_input(command) -> None:
    command.provide("stream", lambda model, prompt, **_: iter([f"<{prompt}>"]))
    assert command("generate", "--model", "m", "--prompt", "-", stdin="a\nb").stdout == "<a\nb>\n"


def test_a_conversation_remembers_both_sides(command) -> None:
    seen: list[list[Message]] = []

    def stream(model: str, messages: list[Message], **_: Any) -> Iterator[str]:
        seen.append(list(messages))
        yield from (f"answer {len(seen)}",)

    command.provide("stream", stream)
    done = command("generate", "--model", "m", "--chat", "--system", "Be brief.", stdin="one\n\ntwo\n")
    assert done.exit_code == 0
    assert done.stdout == "answer 1\nanswer 2\n"
    assert [(turn.role, turn.content) for turn in seen[1]] == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "answer 1"), ("user", "two"),
    ]  # fmt: skip


def test_a_full_context_loses_the_earliest_turns_and_a_refused_line_does_not_end_the_talk(command) -> None:
    seen: list[list[str]] = []

    def stream(model: str, messages: list[Message], **_: Any) -> Iterator[str]:
        if len(messages) > 3 or messages[-1].content == "too long":
            raise UsageError("The prompt is too long.", "Ask less.")
        if messages[-1].content == "<|end|>":
            raise DataError("The text contains <|end|>.", "Remove it.")
        seen.append([turn.content for turn in messages])
        return iter(["answer"])

    command.provide("stream", stream)
    done = command("generate", "--model", "m", "--chat", stdin="one\ntwo\nthree\ntoo long\n<|end|>\nfour\n")
    assert done.exit_code == 0
    assert done.stderr.count("The prompt is too long.") == 1
    assert done.stderr.count("The text contains <|end|>.") == 1
    assert seen == [
        ["one"], ["one", "answer", "two"], ["two", "answer", "three"], ["three", "answer", "four"],
    ]  # fmt: skip


def test_labels_are_printed_with_their_probabilities(command) -> None:
    weighed = (WeighedLabel("card\x1b", 0.75, -1.0), WeighedLabel("fee", 0.25, -2.0))
    command.provide("classify", lambda *_: Classification("card\x1b", 0.75, weighed))
    asked = ("generate", "--model", "m", "--prompt", "Hello", "--classify", "--label", "fee", "--label", "card\x1b")
    assert command(*asked).stdout == "0.7500  card\\x1b\n0.2500  fee\n"
    [(_, arguments)] = command.calls
    assert arguments["positional"] == ("m", "Hello", ["fee", "card\x1b"])
    assert json.loads(command(*asked, "--output", "json").stdout)["labels"][1] == {
        "label": "fee", "probability": 0.25, "logprob": -2.0,
    }  # fmt: skip


def test_what_has_no_effect_beside_labels_is_named(command) -> None:
    asked = ("generate", "--model", "m", "--prompt", "x", "--classify")
    done = command(*asked, "--compare", "n", "--top-p", "0.5", "--stop", "a", "--logit-bias", "1=2")
    assert done.exit_code == 2
    assert "writes nothing: --compare, --top-p, --logit-bias, --stop." in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        (), ("--prompt", "x", "--chat"), ("--chat", "--output", "json"), ("--prompt", "x", "--system", "y"),
        ("--prompt", "x", "--label", "y"), ("--chat", "--classify"),
    ],
    ids=["neither", "both", "chat-json", "system-without-chat", "label-without-classify", "classified-chat"],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(command, args: tuple[str, ...]) -> None:
    assert command("generate", "--model", "m", *args).exit_code == 2


def test_numbers_out_of_bounds_are_refused(command) -> None:
    done = command("generate", "--model", "m", "--prompt", "x", "--top-p", "1.5")
    assert done.exit_code == 2
    assert "--top-p" in done.stderr
