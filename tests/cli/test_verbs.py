"""What each verb hands to its workflow."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from outcrop.cli import workflows

WORKFLOWS = workflows.WORKFLOWS
"""The real table: fixtures replace it in the module."""

TUNE = (
    "tune", "--base", "bundled:x", "--data", "a.jsonl", "--data", "b.jsonl", "--to", "out", "--validation", "v.jsonl",
    "--test", "t.jsonl", "--map", "prompt=text,completion=label", "--template", "Message: {prompt}\\nIntent:",
    "--format", "csv", "--drop-bad-rows", "--overwrite", "--resume", "--epochs", "2", "--set", "batchSize=8",
)  # fmt: skip
PRETRAIN = (
    "pretrain", "--from-scratch", "shape.toml", "--data", "docs", "--to", "out", "--map", "text=body",
    "--general", "news", "--format", "csv", "--drop-bad-rows",
)  # fmt: skip
DISTILL = (
    "distill", "--teacher", "big", "--data", "prompts.jsonl", "--to", "out", "--student", "small", "--within", "1",
    "--faster", "3", "--relabel", "--no-trim", "--objective", "gold-share=0.2", "--remote", "spend_cap=5",
    "--instruction", "Answer briefly.", "--epochs", "3", "--hourly-price", "1.5", "--shots", "2",
    "--accept-teacher-terms",
)  # fmt: skip
EVALUATE = (
    "evaluate", "--model", "a", "--model", "b", "--data", "t.jsonl", "--to", "out", "--metric", "exact_match",
    "--shots", "0", "--shots", "4", "--seed", "7", "--limit", "100",
    "--shots-from", "train.jsonl", "--drop-bad-rows", "--overwrite",
)  # fmt: skip
GENERATE = (
    "generate", "--model", "a", "--prompt", "Hello", "--temperature", "0.5", "--stop", "\n", "--seed", "3",
    "--min-p", "0.1", "--repetition-penalty", "1.2", "--logit-bias", "7=-100,9=1.5", "--logit-bias", "8=2",
)  # fmt: skip
BATCH = (
    "batch", "--model", "a", "--data", "r.jsonl", "--data", "s3://b/in", "--to", "out", "--map", "prompt=word",
    "--invocation", "Converse", "--max-new-tokens", "9", "--stop", "\n", "--precision", "auto", "--batch-tokens", "99",
    "--logit-bias", "5=-100",
    "--cache", "c.sqlite", "--publish", "words", "--resume",
)  # fmt: skip


@pytest.fixture
def call(command, answer):
    """Run a command line and return what its workflow was called with."""

    def called(*args: str) -> dict[str, Any]:
        for name in WORKFLOWS:
            command.provide(name, lambda *_, **__: answer({"made": "out"}))
        command.provide("stream", lambda *_, **__: iter(["Hi"]))
        done = command(*args)
        assert done.exit_code == 0, done.output
        [(_, arguments)] = command.calls
        return arguments

    return called


def test_tune(call) -> None:
    arguments = call(*TUNE)
    assert callable(arguments.pop("listener"))
    assert arguments == {
        "base": "bundled:x", "data": ["a.jsonl", "b.jsonl"], "to": "out",
        "validation": ["v.jsonl"], "test": ["t.jsonl"],
        "settings": {"epochs": 2, "batch_size": 8}, "sources": {"epochs": "flag", "batch_size": "--set"},
        "columns": "prompt=text,completion=label", "template": "Message: {prompt}\\nIntent:",
        "roles": "", "format": "csv",
        "drop_bad_rows": True, "overwrite": True, "resume": True,
    }  # fmt: skip


def test_tune_with_the_least(call) -> None:
    arguments = call("tune", "--base", "m", "--data", "a.jsonl", "--to", "out")
    assert arguments["settings"] == arguments["sources"] == {}
    assert arguments["validation"] == arguments["test"] == []
    assert arguments["columns"] == arguments["template"] == arguments["format"] == ""
    assert not any(arguments[flag] for flag in ("drop_bad_rows", "overwrite", "resume"))


def test_distill(call) -> None:
    arguments = call(*DISTILL)
    assert arguments["students"] == ["small"]
    assert (arguments["within"], arguments["faster"]) == (1.0, 3.0)
    assert (arguments["relabel"], arguments["trim"]) == (True, False)
    assert arguments["objective"] == {"gold_share": "0.2"}
    assert arguments["remote"] == {"spend_cap": "5"}
    assert (arguments["hourly_price"], arguments["shots"]) == (1.5, 2)
    assert arguments["accept_teacher_terms"] is True


def test_pretrain(call) -> None:
    arguments = call(*PRETRAIN)
    assert (arguments["base"], arguments["from_scratch"]) == (None, "shape.toml")
    assert (arguments["columns"], arguments["format"], arguments["general"]) == ("text=body", "csv", ["news"])
    assert arguments["drop_bad_rows"] is True


@pytest.mark.parametrize("args", [(), ("--base", "m", "--from-scratch", "s.toml")])
def test_pretrain_begins_from_one_thing(command, args: tuple[str, ...]) -> None:
    done = command("pretrain", "--data", "docs", "--to", "out", *args)
    assert done.exit_code == 2
    assert "--from-scratch" in done.stderr


def test_evaluate(call) -> None:
    arguments = call(*EVALUATE)
    assert callable(arguments.pop("listener"))
    assert arguments == {
        "models": ["a", "b"], "data": ["t.jsonl"], "to": "out", "columns": "", "template": "",
        "roles": "", "format": "",
        "metrics": ["exact_match"], "shots": [0, 4], "seed": 7, "limit": 100,
        "shots_from": ["train.jsonl"], "drop_bad_rows": True, "overwrite": True,
    }  # fmt: skip


def test_evaluate_is_zero_shot_on_all_rows_by_default(call) -> None:
    arguments = call("evaluate", "--model", "a", "--data", "t.jsonl", "--to", "out")
    assert (arguments["shots"], arguments["limit"]) == ([0], None)


@pytest.mark.parametrize("option", [("--shots", "-1"), ("--limit", "0"), ("--limit", "many")])
def test_evaluate_refuses_senseless_numbers(command, option: tuple[str, str]) -> None:
    done = command("evaluate", "--model", "a", "--data", "t", "--to", "o", *option)
    assert done.exit_code == 2
    assert option[0] in done.stderr


def test_demo(call) -> None:
    assert call("demo", "--to", "there")["to"] == "there"


def test_batch(call) -> None:
    arguments = call(*BATCH)
    assert callable(arguments.pop("listener"))
    assert arguments == {
        "model": "a", "data": ["r.jsonl", "s3://b/in"], "to": "out", "columns": "prompt=word", "template": "",
        "roles": "", "format": "", "invocation": "Converse", "precision": "auto", "batch_tokens": 99,
        "sampling": {
            "max_new_tokens": 9, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_strings": ("\n",),
            "min_p": 0.0, "repetition_penalty": 1.0, "logit_bias": ((5, -100.0),),
        },
        "cache": "c.sqlite", "publish": "words", "runner": "local", "workers": 0, "overwrite": False, "resume": True,
    }  # fmt: skip


def test_a_batch_has_a_cache_unless_it_shall_have_none(call, command) -> None:
    assert call("batch", "--model", "a", "--data", "r", "--to", "out")["cache"] == ""
    command.calls.clear()
    assert call("batch", "--model", "a", "--data", "r", "--to", "out", "--no-cache")["cache"] is None
    assert command("batch", "--model", "a", "--data", "r", "--to", "o", "--no-cache", "--cache", "c").exit_code == 2


def test_generate_streams(call) -> None:
    arguments = call(*GENERATE)
    assert arguments["positional"] == ("a", "Hello")
    assert arguments["temperature"] == 0.5
    assert arguments["stop_strings"] == ("\n",)
    assert (arguments["min_p"], arguments["repetition_penalty"]) == (0.1, 1.2)
    assert arguments["logit_bias"] == ((7, -100.0), (8, 2.0), (9, 1.5))


def _positional_and_named(arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return arguments.pop("positional", ()), arguments


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("tune", TUNE), ("pretrain", PRETRAIN), ("distill", DISTILL), ("evaluate", EVALUATE), ("batch", BATCH),
        ("demo", ("demo",)), ("stream", GENERATE),
    ],
)  # fmt: skip
def test_workflows_take_what_verbs_give(call, name: str, args: tuple[str, ...]) -> None:
    positional, named = _positional_and_named(call(*args))
    inspect.signature(WORKFLOWS.load(name)).bind(*positional, **named)


@pytest.mark.contract
def test_the_whole_answer_takes_what_streaming_takes(call) -> None:
    positional, named = _positional_and_named(call(*GENERATE))
    inspect.signature(WORKFLOWS.load("generate")).bind(*positional, **named)
