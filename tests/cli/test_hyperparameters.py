"""Flags, --set and --settings: all fields, our names and Bedrock's, precedence, sources, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from outcrop.cli.app import app
from outcrop.cli.hyperparameters import PANEL, gather
from outcrop.core.errors import UsageError
from outcrop.core.spec import extra_of
from outcrop.training.spec import TrainingSpec, bedrock_names

FIELDS = TrainingSpec.model_fields
BEDROCK = bedrock_names()


def options(verb: str) -> dict[str, Any]:
    return {each.name: each for each in get_command(app).commands[verb].params}


@pytest.fixture
def file(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / "train.toml"
        path.write_text(text)
        return path

    return written


@pytest.mark.parametrize("verb", ["tune", "pretrain"])
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_a_flag_with_what_is_known_of_it(verb: str, name: str) -> None:
    option, field = options(verb)[name], FIELDS[name]
    assert option.opts == [f"--{name.replace('_', '-')}"]
    assert option.rich_help_panel == PANEL
    assert option.help.startswith(field.description)
    assert extra_of(field, "unit") in option.help
    assert extra_of(field, "bedrock") in option.help
    for bound in field.metadata:
        limit = next(getattr(bound, key) for key in ("ge", "gt", "le", "lt") if hasattr(bound, key))
        assert f"{limit:g}" in option.help or str(limit) in option.help
    for choice in get_args(field.annotation):
        assert not isinstance(choice, str) or choice in option.help


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_reaches_the_workflow(command, answer, name: str) -> None:
    """Each default, said explicitly (or a value within bounds), arrives typed and named as a flag."""
    value = {"learning_rate": 0.01, "warmup_steps": 10, "max_length": 64, "max_steps": 9, "max_minutes": 1.5}.get(
        name, getattr(TrainingSpec(), name)
    )
    flag = f"--{name.replace('_', '-')}"
    given = [flag, str(value)] if not isinstance(value, bool) else [flag if value else f"--no-{flag[2:]}"]
    command.provide("tune", lambda **_: answer({}))
    done = command("tune", "--base", "m", "--data", "d", "--to", "o", *given)
    assert done.exit_code == 0, done.output
    [(_, arguments)] = command.calls
    assert arguments["settings"] == {name: value}
    assert type(arguments["settings"][name]) is type(value)
    assert arguments["sources"] == {name: "flag"}


@pytest.mark.parametrize("name", BEDROCK)
def test_bedrock_names_mean_ours(name: str) -> None:
    value = {"learningRate": "0.01", "learningRateWarmupSteps": "10"}.get(name, str(FIELDS[BEDROCK[name]].default))
    given = gather({}, [f"{name}={value}"])
    assert given.settings == {BEDROCK[name]: float(value)}
    assert given.sources == {BEDROCK[name]: "--set"}


def test_flags_win_over_set_over_file(file) -> None:
    path = file("epochs = 1\nbatchSize = 16\nlearning_rate = 0.1\n")
    given = gather({"epochs": "3", "seed": None}, ["epochs=2", "batch-size=8"], path)
    assert given.settings == {"epochs": 3, "batch_size": 8, "learning_rate": 0.1}
    assert given.sources == {"epochs": "flag", "batch_size": "--set", "learning_rate": "file"}


def test_nothing_given_is_nothing_set() -> None:
    given = gather(dict.fromkeys(FIELDS))
    assert given.settings == given.sources == {}


def test_a_value_may_contain_an_equals_sign() -> None:
    with pytest.raises(UsageError, match="given: 'a=b'"):
        gather({}, ["method=a=b"])


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["epocs=3"], "Unknown hyperparameter epocs. Did you mean: epochs?"),
        (["epochCout=3"], "Unknown hyperparameter epochCout. Did you mean: epochCount?"),
        (["epocs=3", "batchsiz=4"], "Unknown hyperparameter batchsiz. Did you mean: batch_size?"),
        (["epochs=3", "epochCount=4"], "epochs is given twice: 3 and 4."),
        (["epochs"], "not of the form name=value"),
        (["=3"], "not of the form name=value"),
        (["epochs=0"], r"epochs: input should be greater than or equal to 1 \(given: '0'\)"),
        (["method=loar"], "'full' or 'lora'"),
        (["epochs=0", "learning_rate=fast"], "learning_rate: input should be a valid number"),
    ],
)
def test_wrong_assignments_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gather({}, assignments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "is no TOML"),
        ("epocs = 3", "Did you mean: epochs?"),
        ("epochs = 0", "greater than or equal to 1"),
        ('epochs = "many"', "valid integer"),
        ("[epochs]\nvalue = 3", "valid integer"),
    ],
)
def test_a_wrong_file_is_named(file, text: str, message: str) -> None:
    path = file(text)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        gather({"seed": "1"}, [], path)
    assert caught.value.where == str(path)


def test_a_right_file_is_not_blamed_for_a_wrong_flag(file) -> None:
    with pytest.raises(UsageError, match="seed") as caught:
        gather({"seed": "-1"}, [], file("epochs = 3"))
    assert caught.value.where == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["absent", "not-utf8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.toml"
    if content:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        gather({}, [], path)
    assert caught.value.where == str(path)


def test_choices_are_completed() -> None:
    complete = options("tune")["method"].shell_complete
    context = get_command(app).commands["tune"].make_context("tune", [], resilient_parsing=True)
    assert [each.value for each in complete(context, "lo")] == ["lora"]
