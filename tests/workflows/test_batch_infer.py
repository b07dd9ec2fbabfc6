"""`batch`: cached equals uncached, copies are computed once, order is kept, killed jobs go on, bad rows fail alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Event, StopRequested
from outcrop.data.records import Record
from outcrop.generation.batch import running
from outcrop.models.folder import CARD, GENERATION_CONFIG
from outcrop.models.rendering import Renderer
from outcrop.store.batch_work import BatchWork
from outcrop.workflows import job
from outcrop.workflows.generate import generate
from outcrop.workflows.run_folder import ANSWERS, JOB, RUN
from tests.generation.adapters import write_adapter
from tests.models.folders import edit, write_model
from tests.support.batches import counted, lines, run, write_rows
from tests.support.tiny import tiny_model, tiny_tokenizer

WORDS = ("the card", "my money", "a fee", "the exchange", "the card", "when", "a fee", "the card")
ROWS: list[dict[str, Any] | str] = [{"id": number, "prompt": word} for number, word in enumerate(WORDS)]
RESULT = "rows.jsonl.answers.jsonl"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", ROWS)


def test_rows_are_answered_in_their_order_as_generate_answers_them(model: Path, rows: Path, tmp_path: Path) -> None:
    result = run(model, rows, tmp_path / "out")
    found = lines(tmp_path / "out" / RESULT)
    assert [line["id"] for line in found] == list(range(len(WORDS)))
    for line in found:
        wanted = generate(str(model), line["prompt"], max_new_tokens=6)
        assert (line["answer"], line["finish_reason"]) == (wanted.text, wanted.finish_reason)
    assert (result.rows, result.succeeded, result.failed) == (8, 8, 0)
    assert result.generated_tokens == sum(
        len(generate(str(model), word, max_new_tokens=6).token_ids) for word in WORDS
    )
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == json.loads(json.dumps(result.as_dict()))


def test_copies_are_computed_once(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as asked:
        result = run(model, rows, tmp_path / "out")
    assert len(asked) == len(set(WORDS)) == result.requests == result.computed
    assert result.duplicates == len(WORDS) - len(set(WORDS))


def test_cached_answers_are_the_computed_ones_and_one_new_row_costs_one(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model, rows, tmp_path / "uncached", cache=None)
    run(model, rows, tmp_path / "first")
    with counted(monkeypatch) as asked:
        again = run(model, rows, tmp_path / "again")
    assert (again.cache_hits, again.computed, asked) == (again.requests, 0, [])
    bytes_of = {(tmp_path / name / RESULT).read_bytes() for name in ("uncached", "first", "again")}
    assert len(bytes_of) == 1
    write_rows(rows, [{"id": -1, "prompt": "a new one"}, *ROWS])
    with counted(monkeypatch) as asked:
        more = run(model, rows, tmp_path / "more")
    assert (len(asked), more.computed, more.cache_hits) == (1, 1, again.requests)
    assert lines(tmp_path / "more" / RESULT)[1:] == lines(tmp_path / "again" / RESULT)


def test_rows_are_rendered_once_and_a_shared_beginning_is_computed_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Record] = []
    prompt = Renderer.prompt

    def recorded(self: Renderer, record: Record) -> list[int]:
        rendered.append(record)
        return prompt(self, record)

    monkeypatch.setattr(Renderer, "prompt", recorded)
    system = {"role": "system", "content": "my card has not arrived yet " * 8}
    turns = [[system, {"role": "user", "content": f"the card {number % 9}"}] for number in range(12)]
    rows = write_rows(tmp_path / "rows.jsonl", [{"messages": messages} for messages in turns])
    result = run(model, rows, tmp_path / "out", publish="answers", batch_tokens=200)
    assert len(rendered) == len(turns)
    assert (result.requests, result.duplicates) == (9, 3)
    shared = len(tiny_tokenizer()(system["content"]).input_ids)
    assert result.prefix_tokens >= (result.requests - 1) * shared
    assert run(model, rows, tmp_path / "again").prefix_tokens == 0


@pytest.mark.parametrize("change", ["weights", "template", "stops", "sampling", "precision", "adapter"])
def test_what_decides_an_answer_is_part_of_its_key(model: Path, rows: Path, tmp_path: Path, change: str) -> None:
    first = run(model, rows, tmp_path / "first")
    options: dict[str, Any] = {}
    if change == "weights":
        write_model(model, seed=1)
    elif change == "template":
        edit(model / CARD, rendering={"separator": "\n"})
    elif change == "stops":
        edit(model / GENERATION_CONFIG, eos_token_id=[5, 6])
    elif change == "sampling":
        options = {"sampling": {"max_new_tokens": 5}}
    elif change == "precision":
        options = {"precision": "bfloat16"}
    else:
        model = Path(write_adapter(tmp_path / "adapter", model, tiny_model(), seed=1).name)
    second = run(model, rows, tmp_path / "second", **options)
    assert (second.cache_hits, second.computed) == (0, first.requests)


@pytest.mark.parametrize(
    ("option", "same"),
    [
        ({"min_p": 0.5}, {"min_p": 0.5}),
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"logit_bias": {5: -1}}, {"logit_bias": {"5": -1.0}}),
        ({"logit_bias": {5: -1, 7: 2}}, {"logit_bias": ((7, 2.0), (5, -1.0))}),
    ],
)
def test_every_option_of_sampling_is_part_of_the_key(
    model: Path, rows: Path, tmp_path: Path, option: dict[str, Any], same: dict[str, Any]
) -> None:
    plain: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.0}
    first = run(model, rows, tmp_path / "first", sampling=plain)
    second = run(model, rows, tmp_path / "second", sampling=plain | option)
    assert (second.cache_hits, second.computed) == (0, first.requests)
    assert run(model, rows, tmp_path / "third", sampling=plain | same).cache_hits == first.requests


def test_drawn_answers_differ_between_copies_and_repeat_between_jobs(
    model: Path, rows: Path, tmp_path: Path
) -> None:
    sampling = {"max_new_tokens": 6, "temperature": 3.0, "seed": 5}
    first = run(model, rows, tmp_path / "first", sampling=sampling, cache=None)
    again = run(model, rows, tmp_path / "again", sampling=sampling)
    assert first.duplicates == 0
    found = lines(tmp_path / "first" / RESULT)
    assert found == lines(tmp_path / "again" / RESULT)
    cards = [line["answer"] for line in found if line["prompt"] == "the card"]
    assert len(set(cards)) == 3
    assert cards[0] == generate(str(model), "the card", **sampling).text
    write_rows(rows, list(reversed(ROWS)))
    assert run(model, rows, tmp_path / "turned", sampling=sampling).cache_hits == again.requests


def test_drawn_answers_in_half_precision_are_not_kept_for_other_jobs(model: Path, rows: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampling": {"max_new_tokens": 4, "temperature": 1.0}, "precision": "bfloat16"}
    run(model, rows, tmp_path / "first", **options)
    assert run(model, rows, tmp_path / "again", **options).cache_hits == 0


BROKEN: list[dict[str, Any] | str] = [
    {"prompt": "the card"}, "not json", {"prompt": ""}, {"other": 1}, {"prompt": "the fee </s>"},
    {"prompt": "my card " * 300}, {"messages": [{"role": "user", "content": "hi"}]}, {"prompt": "a fee"},
    {"prompt": "x", "answer": "y"}, '{"prompt": "a", "prompt": "b"}',
]  # fmt: skip


def test_a_bad_row_gets_an_error_in_its_place_and_fails_nothing(model: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    rows = write_rows(tmp_path / "rows.jsonl", BROKEN)
    result = run(model, rows, tmp_path / "out", listener=events.append)
    found = lines(tmp_path / "out" / RESULT)
    assert [("answer" in line and "error" not in line) for line in found] == [
        True, False, False, False, False, False, True, True, False, False,
    ]  # fmt: skip
    says = [line.get("error", {}).get("message", "") for line in found]
    assert says[1].startswith("rows.jsonl:2: Expecting value")
    assert "empty" in says[2]
    assert "other" in says[3]
    assert "special token '</s>'" in says[4]
    assert "context of 256 tokens" in says[5]
    assert "has a field answer already" in says[8]
    assert "more than once" in says[9]
    assert {line["error"]["code"] for line in found if "error" in line} == {400}
    assert (result.rows, result.succeeded, result.failed) == (10, 3, 7)
    [warning] = [event for event in events if event["event"] == "warning"]
    assert warning["message"].startswith("7 of 10 rows have an error and no answer. The first: rows.jsonl:2")


def test_tuned_models_are_asked_as_they_were_trained(model: Path, tmp_path: Path) -> None:
    source = {"columns": "prompt=text,completion=label", "template": "Message: {prompt}\\nIntent:", "roles": ""}
    form = {"template": "Message: {prompt}\nIntent:", "column": "text"}
    edit(model / CARD, kind="fine-tuned", source=source, prompt=form)
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "the card"}, {"text": "the fee"}])
    plain = write_rows(tmp_path / "plain.jsonl", [{"prompt": "the card"}, {"prompt": "the fee"}])
    split = write_rows(
        tmp_path / "test.jsonl",
        [{"prompt": f"Message: {text}\nIntent:", "completion": text[4:]} for text in ("the card", "the fee")],
    )
    turns = [{"messages": [{"role": "user", "content": text}]} for text in ("the card", "the fee")]
    turns += [{"messages": [*turn["messages"], {"role": "assistant", "content": "known"}]} for turn in turns]
    turned = write_rows(tmp_path / "turns.jsonl", turns)
    result = run(model, [rows, plain, split, turned], tmp_path / "out")
    assert result.requests == 2
    wanted = [generate(str(model), text, max_new_tokens=6).text for text in ("the card", "the fee")]
    for name in (RESULT, "plain.jsonl.answers.jsonl", "test.jsonl.answers.jsonl"):
        assert [line["answer"] for line in lines(tmp_path / "out" / name)] == wanted
    assert [line["answer"] for line in lines(tmp_path / "out" / "turns.jsonl.answers.jsonl")] == wanted * 2


def test_a_row_that_cannot_be_computed_is_an_error_row_and_the_others_go_on(model: Path, tmp_path: Path) -> None:
    bodies = [{"prompt": "the card", "max_tokens": 3, "temperature": 1} for _ in range(3)]
    bodies[1]["repetition_penalty"] = 1e-300
    rows = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body | {"model": "m"}}
        for number, body in enumerate(bodies)
    ]
    result = run(model, write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "out")
    assert (result.succeeded, result.failed) == (2, 1)


def test_columns_are_mapped_and_tables_read(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("subject,body\ncard,has not arrived\nfee,is too high\n")
    run(model, table, tmp_path / "out", columns="prompt=body", template="{subject} {body}")
    found = lines(tmp_path / "out" / "rows.csv.answers.jsonl")
    assert [line["subject"] for line in found] == ["card", "fee"]
    assert found[0]["answer"] == generate(str(model), "card has not arrived", max_new_tokens=6).text


def test_folders_are_read_file_by_file(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    write_rows(folder / "a.jsonl", [{"prompt": "the card"}])
    write_rows(folder / "b" / "a.jsonl", [{"recordId": "1", "modelInput": {"prompt": "the card"}}])
    result = run(model, folder, tmp_path / "out")
    assert result.files == ("a.jsonl.answers.jsonl", "b/a.jsonl.out")
    assert result.requests == 1
    manifest = json.loads((tmp_path / "out" / "manifest.json.out").read_text())
    assert (manifest["totalRecordCount"], manifest["successRecordCount"]) == (1, 1)


KILLED = """
import os, signal, sys
import outcrop
def listen(event):
    if event.get("title") == sys.argv[5]:
        os.kill(os.getpid(), signal.SIGKILL)
outcrop.batch(sys.argv[1], [sys.argv[2]], sys.argv[3], sampling={"max_new_tokens": 6, "temperature": 2.0},
    batch_tokens=8, listener=listen, cache=sys.argv[4] or None)
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("moment", "least", "most", "cache"),
    [("rows", 0, 0, ""), ("requests", 1, len(ROWS) - 1, "cache.sqlite"), ("Writing", len(ROWS), len(ROWS), "")],
)
def test_a_killed_job_goes_on_without_losing_or_computing_a_row_again(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, least: int, most: int,
    cache: str,
) -> None:  # fmt: skip
    sampling = {"max_new_tokens": 6, "temperature": 2.0}
    run(model, rows, tmp_path / "undisturbed", sampling=sampling, cache=None)
    path = str(tmp_path / cache) if cache else ""
    words = [sys.executable, "-c", KILLED, str(model), str(rows), str(tmp_path / "out"), path, moment]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(words, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with BatchWork(tmp_path / "out.partial" / RUN / ANSWERS) as work:
        kept = work.counts().computed
    assert least <= kept <= most
    with pytest.raises(UsageError, match="unfinished run"):
        run(model, rows, tmp_path / "out", sampling=sampling)
    with counted(monkeypatch) as asked:
        result = run(model, rows, tmp_path / "out", sampling=sampling, resume=True, cache=path or None)
    assert len(asked) == len(ROWS) - kept
    assert result.computed == result.requests == len(ROWS)
    assert (tmp_path / "out" / RESULT).read_bytes() == (tmp_path / "undisturbed" / RESULT).read_bytes()
    assert not (tmp_path / "out.partial").exists()
    assert not list((tmp_path / "out" / RUN).glob(f"{ANSWERS}*"))
    if cache:
        assert run(model, rows, tmp_path / "third", sampling=sampling, cache=path).computed == 0


def stop_at(title: str) -> Any:
    def listen(event: Event) -> None:
        if event["event"] == "progress" and event["title"] == title:
            raise StopRequested

    return listen


@pytest.mark.parametrize("title", ["rows", "requests"])
def test_a_job_finds_its_own_unfinished_work(model: Path, rows: Path, tmp_path: Path, title: str) -> None:
    sampling = {"max_new_tokens": 6, "stop_strings": ("zzz",), "stop_ids": (3,), "logit_bias": ((5, -1.0),)}
    given = {"model": str(model), "data": [str(rows)], "to": str(tmp_path / "out"), "sampling": sampling}
    arguments = json.loads(json.dumps(given | {"batch_tokens": 8}))  # as the queue keeps them
    with pytest.raises(StopRequested):
        job.perform("batch", arguments, "job1", stop_at(title))
    result = job.perform("batch", job.with_fewer_batch_tokens(arguments, 1), "job1", lambda event: None)
    assert (result.rows, result.failed) == (len(ROWS), 0)
    assert job.perform("batch", arguments, "job1", lambda event: None)["rows"] == len(ROWS)
    assert JOB.get() == ""


def test_an_unfinished_job_of_other_rows_or_options_is_not_continued(model: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        run(model, rows, tmp_path / "out", listener=stop_at("requests"))
    with pytest.raises(UsageError, match="begun with another sampling"):
        run(model, rows, tmp_path / "out", resume=True, sampling={"max_new_tokens": 5})
    write_rows(rows, ROWS[:3])
    with pytest.raises(UsageError, match="begun with another inputs"):
        run(model, rows, tmp_path / "out", resume=True)
    assert run(model, rows, tmp_path / "out", overwrite=True).rows == 3


def test_a_cache_that_cannot_be_used_is_one_warning(model: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no database at all, but long enough to be looked at" * 100)
    events: list[Event] = []
    result = run(model, rows, tmp_path / "out", cache=str(tmp_path / "cache"), listener=events.append)
    assert result.computed == result.requests
    [warning] = [event for event in events if event["event"] == "warning"]
    assert warning["code"] == "no-prediction-cache"
    assert "delete it" in warning["message"]


def test_progress_tells_speed_and_hits(model: Path, rows: Path, tmp_path: Path) -> None:
    run(model, write_rows(tmp_path / "one.jsonl", ROWS[:1]), tmp_path / "first")
    events: list[Event] = []
    run(model, rows, tmp_path / "out", listener=events.append)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["done"], last["total"], last["cache_hits"], last["eta_s"]) == (5, 5, 1, 0)
    assert last["tokens_per_s"] > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "bedrock"}, "Unknown format: bedrock. Did you mean: bedrock-batch"),
        ({"format": "alpaca", "columns": "prompt=text"}, "A format and a mapping"),
        ({"invocation": "Chat"}, "no way to invoke"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"sampling": {"top_p": 0}}, "top_p is 0"),
        ({"sampling": {"tokens": 3}}, "Unknown sampling field: tokens"),
        ({"sampling": {"logit_bias": {"a": 3}}}, "'a' is no token id"),
        ({"sampling": {"logit_bias": {5: "much"}}}, "The bias of token 5 is 'much'. Allowed: a number"),
        ({"publish": "../x"}, "cannot be the name"),
    ],
)
def test_requests_that_make_no_sense_are_refused_at_once(
    model: Path, rows: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        run(model, rows, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_files_that_cannot_be_used_are_refused_before_anything_is_computed(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "open_engine", None)
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"\x1f\x8b\x08 no gzip")
    (tmp_path / "other").mkdir()
    answered = write_rows(tmp_path / "answered.jsonl", [{"prompt": "x", "answer": "y"}])
    for files, kind, says in [
        ([rows, broken], DataError, "broken.jsonl.gz: The file"),
        ([tmp_path / "absent.jsonl"], UsageError, "does not exist"),
        ([tmp_path / "other"], UsageError, "holds no files of rows"),
        ([rows, rows], UsageError, "Two files are called rows.jsonl"),
        ([write_rows(tmp_path / "none.jsonl", ["[]"])], DataError, "no row that can be read"),
        ([answered], UsageError, "have the fields answer already"),
    ]:
        with pytest.raises(kind, match=says):
            run(model, files, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.partial").exists()
