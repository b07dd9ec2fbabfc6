"""Help is quick because it imports no torch, and the core works where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture.package import MODULES, python

HEAVY = ("torch", "transformers", "tokenizers", "safetensors", "peft", "scipy", "sklearn", "sacrebleu", "rouge_score")
SERVER = ("sqlalchemy", "alembic", "psycopg", "obstore")

# Together they take longer than all else of a first answer. What torch imports by itself is not among them.
SLOW = ("transformers", "torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "scipy", "sklearn")

BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY + SERVER}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_help_imports_nothing_heavy() -> None:
    run = python(f"""
import sys
sys.argv = ["outcrop", "--help"]
from outcrop.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *(set(sys.modules) & set({HEAVY + SERVER})))
""")
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip().splitlines()[-1] == "LOADED"
    for verb in ("data", "tune", "pretrain", "evaluate", "generate", "demo"):
        assert verb in run.stdout


ANSWER = f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        assert name not in {SLOW}, "an answer of a plain model must not wait for " + name
sys.meta_path.insert(0, Forbidden())
"""


@pytest.mark.e2e
@pytest.mark.parametrize("verb", ["stream", "generate"])
def test_a_first_answer_waits_for_no_library_that_is_slow_to_import(verb: str) -> None:
    shown = ["--output", "json"] if verb == "generate" else []
    command = ["outcrop", "generate", "--model", "bundled:pebble-s", "--prompt", "The old house", *shown]
    run = python(ANSWER + "sys.argv = sys.argv[1:]\nfrom outcrop.cli.app import main\nmain()", *command)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.e2e
def test_rows_are_answered_and_found_again_without_libraries_that_are_slow_to_import(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"messages": [{"role": "user", "content": "The old house"}]}))
    precision = "auto"
    for to in ("first", "again"):
        places = ("--data", str(rows), "--to", str(tmp_path / to), "--cache", str(tmp_path / "cache"))
        options = ("--max-new-tokens", "3", "--precision", precision, "--output", "json")
        command = ("outcrop", "batch", "--model", "bundled:pebble-s", *places, *options)
        run = python(ANSWER + "sys.argv = sys.argv[1:]\nfrom outcrop.cli.app import main\nmain()", *command)
        assert run.returncode == 0, run.stderr
        told = json.loads(run.stdout)
        assert told["cache_hits"] == (to == "again")
        precision = told["dtype"]  # which of them is faster may be another the next time


@pytest.mark.e2e
def test_a_model_is_served_without_libraries_that_are_slow_to_import() -> None:
    run = python(ANSWER + """
import asyncio
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.models.folder import find_model
from outcrop.service.inference.embedded import open_engine, open_renderer

async def serve():
    engine = await open_engine("bundled:pebble-s", "auto", 4)
    prompt = open_renderer(find_model("bundled:pebble-s")).verbatim("The old house")
    request = CompletionRequest(tuple(prompt), Sampling(max_new_tokens=3))
    events = [event async for event in engine.generate(request)]
    await engine.close()
    return events

assert asyncio.run(serve())
""")
    assert run.returncode == 0, run.stderr


def test_core_imports_without_torch() -> None:
    light = ["outcrop", *(name for name in MODULES if name.startswith(("outcrop.core", "outcrop.data")))]
    run = python(BLOCK + "from importlib import import_module\nfor name in sys.argv[1:]: import_module(name)", *light)
    assert run.returncode == 0, run.stderr


def test_specs_import_without_torch() -> None:
    specs = [name for name in MODULES if name.endswith(".spec")]
    assert "outcrop.training.spec" in specs
    run = python(BLOCK + "from importlib import import_module\nfor name in sys.argv[1:]: import_module(name)", *specs)
    assert run.returncode == 0, run.stderr


CHECK = BLOCK + """
sys.argv = ["outcrop", "data", "check", *sys.argv[1:]]
from outcrop.cli.app import main
main()
"""


def test_data_is_checked_without_torch(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    rows = [{"prompt": f"Where is parcel {n}?", "completion": f"It is at stop {n}."} for n in range(20)]
    good.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = python(CHECK, str(good), "--output", "json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)


def test_bad_data_is_refused_without_torch_and_without_a_traceback(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "one", "completion": "two"}\n{"prompt": "three"\n')
    run = python(CHECK, str(bad))
    assert run.returncode == 2, run.stdout + run.stderr
    assert f"{bad}:2" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "one", "completion": "two"}\n' * 5)
    code = BLOCK + """
sys.argv = ["outcrop", "tune", *sys.argv[1:]]
from outcrop.cli.app import main
main()
"""
    out = tmp_path / "out"
    run = python(code, "--base", str(tmp_path), "--data", str(rows), "--to", str(out))
    assert run.returncode == 2, run.stdout + run.stderr
    assert "pip install" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert not out.exists()


def test_jobs_without_their_extra_say_what_to_install() -> None:
    run = python(BLOCK + 'sys.argv = ["outcrop", "jobs", "list"]\nfrom outcrop.cli.app import main\nmain()')
    assert run.returncode == 2, run.stdout + run.stderr
    assert "outcrop[server]" in run.stderr
    assert "Traceback" not in run.stderr
