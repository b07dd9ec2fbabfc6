"""How verbs end: results, errors, interruptions and bugs, for people and for programs."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.main import get_command

from outcrop.cli import app as app_module
from outcrop.cli import workflows
from outcrop.cli.app import ORDER, Terminated, app
from outcrop.core.catalog import Catalog
from outcrop.core.errors import DataError, Diverged, JobFailed, MissingDependency, ModelError, UsageError

TUNE = ("tune", "--base", "bundled:x", "--data", "rows.jsonl", "--to", "out")

RUN = """
import sys
from outcrop.cli.app import main
try:
    main()
except SystemExit as end:
    heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "numpy", "transformers", "pyarrow"})
    heavy += [name for name in sys.modules if name.startswith("outcrop.workflows")]
    print("imported:", *heavy, file=sys.stderr)
    sys.exit(end.code)
"""


def outcrop(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; the last line of stderr names the heavy modules it imported."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, *args],
        capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment,
    )  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    done = outcrop("--help")
    assert done.returncode == 0
    assert done.stderr == "imported:\n"
    assert all(f"  {verb} " in done.stdout for verb in ORDER)


@pytest.mark.parametrize(
    "args", [("tune", "--help"), ("version",), ("tune", "--epochs", "x"), ("tunee",), (*TUNE, "--epochs", "0")]
)
def test_light_commands_import_nothing_heavy(args: tuple[str, ...]) -> None:
    assert outcrop(*args).stderr.endswith("imported:\n")


@pytest.mark.parametrize("verb", [verb for verb in ORDER if verb != "data"])
def test_every_verb_has_help_with_all_its_options(command, verb: str) -> None:
    done = command(verb, "--help")
    assert done.exit_code == 0
    group = get_command(app)
    named = [option for each in group.commands[verb].params for option in each.opts if option.startswith("--")]
    assert all(f" {option}" in done.stdout.replace("--[no-]", "--") for option in named)


@pytest.mark.parametrize("verb", [verb for verb in ORDER if verb not in ("data", "models", "jobs", "keys")])
def test_every_verb_has_output(verb: str) -> None:
    options = {option for each in get_command(app).commands[verb].params for option in each.opts}
    assert "--output" in options


@pytest.mark.parametrize(
    ("args", "message", "remedy"),
    [
        (("tun",), "Unknown command: tun.", "Did you mean: tune?"),
        (("frobnicate",), "Unknown command: frobnicate.", "Allowed: batch, data, demo"),
        ((*TUNE, "--epoch", "3"), "No such option: --epoch.", "Did you mean: --epochs"),
        (("--verson",), "No such option: --verson.", "Did you mean: --version"),
        (("tune", "--base", "x"), "Missing: --data, --to.", "outcrop tune --help"),
        ((*TUNE, "--output", "yaml"), "'yaml' is not one of 'text', 'json'.", "outcrop tune --help"),
        (("tune", "--base"), "'--base' requires an argument.", "outcrop tune --help"),
        ((*TUNE, "stray"), "unexpected extra argument", "outcrop tune --help"),
        (("models", "shwo"), "No such command 'shwo'. Did you mean 'show'?\n", "outcrop models --help"),
    ],
)  # fmt: skip
def test_wrong_command_lines_say_what_was_meant(command, args, message: str, remedy: str) -> None:
    done = command(*args)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_given_shows_help_and_is_no_success(command) -> None:
    done = command()
    assert done.exit_code == 2
    assert "Usage: outcrop" in done.stdout
    assert done.stderr == ""


ERRORS = [
    (UsageError("Both are given.", "Give one.", "train.toml"), 2),
    (DataError("No rows.", "Give some.", "rows.jsonl:3"), 2),
    (ModelError("There is no such folder.", "Give another.", "x"), 2),
    (MissingDependency.of("torch", "train", "Training"), 2),
    (JobFailed("The disk is full.", "Make room."), 1),
    (Diverged("The loss became NaN at step 7.", "Lower the learning rate."), 1),
]


def raising(error: BaseException) -> Any:
    def workflow(**_: Any) -> None:
        raise error

    return workflow


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_have_word_message_place_and_remedy(command, error, code: int) -> None:
    command.provide("tune", raising(error))
    done = command(*TUNE)
    assert done.exit_code == code
    assert done.stdout == ""
    assert f"error: {error.message}" in done.stderr
    assert f"→ {error.remedy}" in done.stderr
    assert not error.where or f"where {error.where}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_are_json_objects_for_programs(command, error, code: int) -> None:
    command.provide("tune", raising(error))
    done = command(*TUNE, "--output=json")
    assert done.exit_code == code
    assert json.loads(done.stdout) == {"error": error.as_dict()}


@pytest.mark.parametrize(
    "args", [("tune", "--output", "json"), ("nonsense", "--output=json"), ("tune", "--bse", "--output", "json")]
)
def test_wrong_command_lines_are_json_too(command, args: tuple[str, ...]) -> None:
    done = command(*args)
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"
    assert done.stderr == ""


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_refusals_of_the_system_are_no_bugs(command, number: int) -> None:
    command.provide("tune", raising(OSError(number, os.strerror(number), "/somewhere/out")))
    done = command(*TUNE)
    assert done.exit_code == 1
    assert os.strerror(number) in done.stderr
    assert "/somewhere/out" in done.stderr
    assert "Traceback" not in done.stderr


def test_refusals_that_rust_libraries_met_are_no_bugs(command) -> None:
    error = Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    error.add_note("The checkpoint of step 3 is kept.")
    command.provide("tune", raising(error))
    done = command(*TUNE)
    assert done.exit_code == 1
    assert "error: No space left on device." in done.stderr
    assert "The checkpoint of step 3 is kept." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_shows_its_traceback_and_asks_for_a_report(command) -> None:
    command.provide("tune", raising(ZeroDivisionError("in the middle")))
    done = command(*TUNE, "--output", "json")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: in the middle" in done.stderr
    assert "Please report it" in done.stderr.splitlines()[-1]
    assert json.loads(done.stdout) == {"error": {"code": "bug", "message": "ZeroDivisionError: in the middle"}}


def test_ctrl_c_ends_with_130_and_what_is_kept(command) -> None:
    end = KeyboardInterrupt()
    end.add_note("The checkpoint of step 3 is kept.")
    command.provide("tune", raising(end))
    done = command(*TUNE)
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "Interrupted. The checkpoint of step 3 is kept."
    assert "Traceback" not in done.stderr


def test_sigterm_ends_with_143_and_says_so_to_programs(command) -> None:
    command.provide("demo", raising(Terminated()))
    done = command("demo", "--output", "json")
    assert done.exit_code == 143
    assert json.loads(done.stdout) == {"error": {"code": "terminated", "message": "Terminated."}}
    assert done.stderr.splitlines()[-1] == "Terminated."


def test_results_go_to_stdout_and_progress_to_stderr(command, answer) -> None:
    def workflow(listener, **_: Any):
        listener({"event": "stage", "title": "Weighing"})
        return answer({"rows": 1500, "score": 0.8125, "report": "out/report.html"})

    command.provide("demo", workflow)
    text = command("demo")
    assert text.exit_code == 0
    assert "Weighing" in text.stderr
    assert [line.split() for line in text.stdout.splitlines()] == [
        ["rows", "1,500"], ["score", "0.8125"], ["report", "out/report.html"]
    ]  # fmt: skip
    machine = command("demo", "--output", "json")
    assert json.loads(machine.stdout) == {"rows": 1500, "score": 0.8125, "report": "out/report.html"}
    assert "Weighing" in machine.stderr


def test_a_library_that_is_not_installed_is_named_with_its_extra(command, monkeypatch) -> None:
    monkeypatch.setattr(workflows, "WORKFLOWS", Catalog("workflow", {"demo": "no_such_library:demo"}))
    done = command("demo")
    assert done.exit_code == 2
    assert "no_such_library" in done.stderr
    assert "outcrop[train]" in done.stderr


def test_a_missing_module_of_ours_is_a_bug(command, monkeypatch) -> None:
    monkeypatch.setattr(workflows, "WORKFLOWS", Catalog("workflow", {"demo": "outcrop.nowhere:demo"}))
    done = command("demo")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr


def test_output_has_no_escape_codes_where_there_is_no_terminal(command, answer) -> None:
    command.provide("demo", lambda **_: answer({"rows": 1}))
    done = command("demo")
    assert "\x1b" not in done.output
    assert "\x1b" not in command("demo", "--help").output
    assert "\x1b" not in command("dmo").output


def test_a_demo_into_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    done = outcrop("demo", "--to", str(tmp_path / "file"))
    assert done.returncode == 2
    assert "is a file." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("args", [("version",), ("--version",)])
def test_versions(command, args: tuple[str, ...]) -> None:
    done = command(*args)
    assert done.exit_code == 0
    assert "outcrop" in done.stdout


def test_version_names_what_results_depend_on(command) -> None:
    found = json.loads(command("version", "--output", "json").stdout)
    assert {"outcrop", "torch", "transformers", "python", "system"} <= found.keys()


def test_a_lazy_group_lists_and_runs_its_commands(command, monkeypatch) -> None:
    """`outcrop data` is imported when it is used, and not before."""
    module = ModuleType("lazy_commands_of_the_test")
    module.app = typer.Typer()
    module.app.command("check")(lambda: typer.echo("checked"))
    monkeypatch.setattr(app_module, "GROUPS", Catalog("group", {"data": f"{module.__name__}:app"}))
    assert command("--help").exit_code == 0
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert "  check" in command("data", "--help").stdout
    assert command("data", "check").stdout == "checked\n"
    wrong = command("data", "chek")
    assert wrong.exit_code == 2
    assert "'check'" in wrong.stderr


WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
import sys, time, types
from outcrop.cli import workflows
from outcrop.cli.app import main
from outcrop.core.catalog import Catalog

def demo(to, listener):
    listener({"event": "stage", "title": "Waiting"})
    print("ready", flush=True)
    time.sleep(60)

sys.modules["waiting"] = types.ModuleType("waiting")
sys.modules["waiting"].demo = demo
workflows.WORKFLOWS = Catalog("workflow", {"demo": "waiting:demo"})
sys.argv = ["outcrop", "demo"]
main()
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")]
)
def test_signals_give_the_cursor_back(sent: signal.Signals, code: int, word: str) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4)
        process.send_signal(sent)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.wait(timeout=30) == code
    os.close(ours)
    text = shown.decode()
    assert "Waiting" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert word in text.splitlines()[-1]


def _read(terminal: int) -> bytes:
    """What the other side wrote; nothing once it has closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
