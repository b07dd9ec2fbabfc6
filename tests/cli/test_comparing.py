"""`outcrop generate --compare`: two models, the same question, two answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from outcrop.core.completions import Completion
from outcrop.data.records import Message


def test_one_answer_stands_below_the_other_where_there_is_no_terminal(command) -> None:
    command.provide("stream", lambda model, prompt, **_: iter([f"{model} on ", prompt]))
    done = command("generate", "--model", "a", "--compare", "b", "--prompt", "rain")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "a:\na on rain\n\nb:\nb on rain\n\n"


def test_json_has_both_completions(command) -> None:
    command.provide("generate", lambda model, *_, **__: Completion(model.upper(), (1,), (-0.1,), "stop", 3, 0.01))
    done = command("generate", "--model", "a", "--compare", "b", "--prompt", "rain", "--output", "json")
    found = json.loads(done.stdout)["answers"]
    assert [(each["model"], each["text"]) for each in found] == [("a", "A"), ("b", "B")]


def test_each_model_remembers_its_own_side(command) -> None:
    seen: dict[str, list[list[Message]]] = {"a": [], "b": []}

    def stream(model: str, messages: list[Message], **_: Any) -> Iterator[str]:
        seen[model].append(list(messages))
        yield f"{model}{len(seen[model])}"

    command.provide("stream", stream)
    done = command("generate", "--model", "a", "--compare", "b", "--chat", "--system", "Brief.", stdin="one\n\ntwo\n")
    assert done.exit_code == 0, done.stderr
    for model, turns in seen.items():
        assert [turn.content for turn in turns[1]] == ["Brief.", "one", f"{model}1", "two"]
