"""Published answers: the model's own, found exactly or normalised, only for what they were computed for; counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outcrop.cli.app import app
from outcrop.core.completions import Completion, Sampling
from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.data.records import Conversation, Message, Pair
from outcrop.generation.lookup import Lookup, lookup_entry, normalised
from outcrop.models.folder import CARD, CHAT_TEMPLATE, GENERATION_CONFIG
from outcrop.models.loading import load_model
from outcrop.store.lookups import LookupTable, published_folder, table_path, tables
from outcrop.workflows import generate as workflow
from outcrop.workflows.generate import generate, stream
from tests.generation.adapters import write_adapter
from tests.models.folders import edit, write_model
from tests.support.batches import run, write_rows

WORDS = ("the card", "My  Money", "a fee", "A FEE")
ASKED: dict[str, Any] = {"max_new_tokens": 6}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def published(model: Path, tmp_path: Path) -> Path:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": word} for word in WORDS])
    result = run(model, rows, tmp_path / "out", publish="words", cache=None)
    assert result.published is not None
    assert (result.published.name, result.published.answers, result.unpublished) == ("words", 4, 0)
    return model


def hits() -> tuple[int, int]:
    with LookupTable(table_path(published_folder(), "words")) as table:
        summary = table.summary()
    return summary.exact_hits, summary.normalised_hits


def test_a_published_answer_is_the_models_own_and_the_model_is_not_loaded(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {word: generate(str(published), word, lookup=False, **ASKED) for word in WORDS}
    assert hits() == (0, 0)
    monkeypatch.setattr(workflow, "_load", None)
    for word in WORDS:
        found = generate(str(published), word, **ASKED)
        assert found.published == "words"
        assert (found.text, found.token_ids) == (wanted[word].text, wanted[word].token_ids)
        assert found.logprobs == pytest.approx(wanted[word].logprobs, abs=1e-5)
        assert "".join(stream(str(published), word, **ASKED)) == wanted[word].text
    assert hits() == (8, 0)


def test_a_normalised_key_is_the_second_choice_where_it_is_certain(published: Path) -> None:
    money = generate(str(published), "My  Money", lookup=False, **ASKED)
    for word in ("my money", " MY MONEY\n", "my ｍｏｎｅｙ"):
        found = generate(str(published), word, **ASKED)
        assert (found.published, found.text) == ("words", money.text)
    assert hits() == (0, 3)
    answers = {generate(str(published), word, lookup=False, **ASKED).text for word in ("a fee", "A FEE")}
    assert len(answers) == 2
    assert generate(str(published), "A fee", **ASKED).published == ""


@pytest.mark.parametrize(
    "asked",
    [
        {"max_new_tokens": 5}, {"max_new_tokens": 6, "temperature": 1.0}, {"max_new_tokens": 6, "stop_ids": ()},
        {"max_new_tokens": 6, "stop_strings": ("x",)}, {"max_new_tokens": 6, "lookup": False},
    ],
)  # fmt: skip
def test_who_asks_otherwise_is_answered_by_the_model(published: Path, asked: dict[str, Any]) -> None:
    assert generate(str(published), "the card", **asked).published == ""
    assert hits() == (0, 0)


def test_greedy_answers_are_found_whatever_does_not_matter_then(published: Path) -> None:
    assert generate(str(published), "the card", seed=7, top_k=3, **ASKED).published == "words"


def test_another_model_has_none_of_them(published: Path) -> None:
    write_model(published, seed=1)
    assert generate(str(published), "the card", **ASKED).published == ""


BRACKETS = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (model / CHAT_TEMPLATE).write_text(BRACKETS),
        lambda model: edit(model / CARD, rendering={"separator": "\n"}),
        lambda model: edit(model / CARD, prompt={"template": "Other: {prompt}", "column": "text"}),
        lambda model: edit(model / CARD, conversations=True),
        lambda model: edit(model / GENERATION_CONFIG, eos_token_id=[5, 6]),
    ],
    ids=["chat template", "separator", "prompt", "turns", "stops"],
)
@pytest.mark.parametrize("of_base", [False, True])
def test_a_model_that_is_asked_in_another_way_has_none_of_them(
    model: Path, tmp_path: Path, change: Callable[[Path], object], of_base: bool
) -> None:
    edit(model / CARD, kind="fine-tuned", prompt={"template": "Q: {prompt}", "column": "text"})
    name = write_adapter(tmp_path / "adapter", model, load_model(str(model)).model, seed=3).name if of_base else model
    turns = [Message("user", "the card")]
    rows = [{"prompt": "the card"}, {"messages": [{"role": "user", "content": "the card"}]}]
    run(name, write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "out", publish="words")
    assert {generate(str(name), asked, **ASKED).published for asked in ("the card", turns)} == {"words"}
    change(model)
    assert {generate(str(name), asked, **ASKED).published for asked in ("the card", turns)} == {""}


def test_an_adapter_and_its_base_have_their_own_answers(published: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", published, load_model(str(published)).model, seed=3).name
    assert generate(adapter, "the card", **ASKED).published == ""
    rows = write_rows(tmp_path / "when.jsonl", [{"prompt": "when"}])
    run(adapter, rows, tmp_path / "adapted", publish="adapted")
    assert generate(adapter, "when", **ASKED).published == "adapted"
    assert generate(str(published), "when", **ASKED).published == ""


def test_conversations_are_published_too(model: Path, tmp_path: Path) -> None:
    edit(model / CARD, kind="fine-tuned", conversations=True)
    rows = write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": "hi"}]}])
    run(model, rows, tmp_path / "out", publish="words")
    assert generate(str(model), (Message("user", "hi"),), **ASKED).published == "words"
    assert generate(str(model), "HI", **ASKED).published == "words"
    assert generate(str(model), (Message("system", "x"), Message("user", "hi")), **ASKED).published == ""


def test_what_differs_from_time_to_time_is_not_published(model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "the card"}, {"prompt": ""}])
    result = run(model, rows, tmp_path / "out", publish="words", sampling={"temperature": 1.0, "max_new_tokens": 2})
    assert result.published is not None
    assert (result.published.answers, result.unpublished) == (0, 1)


def test_publishing_again_replaces_everything(published: Path, tmp_path: Path) -> None:
    generate(str(published), "the card", **ASKED)
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "when"}])
    run(published, rows, tmp_path / "again", publish="words")
    assert generate(str(published), "the card", **ASKED).published == ""
    assert generate(str(published), "when", **ASKED).published == "words"
    assert hits() == (1, 0)


def test_tables_of_several_names_are_looked_through(published: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "the CARD"}, {"prompt": "when"}])
    run(published, rows, tmp_path / "again", publish="a-first-one")
    assert generate(str(published), "the card", **ASKED).published == "words"
    assert generate(str(published), "the CARD", **ASKED).published == "a-first-one"


def test_texts_are_normalised_by_case_space_and_width() -> None:
    assert normalised(" Straße\tﬁne \n") == "strasse fine"
    assert normalised("big?") != normalised("big")


ANSWER = Completion("x", (1,), (-0.5,), "stop", 2, 0.0)


def test_many_threads_read_one_table_and_every_hit_counts(tmp_path: Path) -> None:
    record, sampling = Pair("a", ""), Sampling()
    with LookupTable(table_path(tmp_path, "t")) as table:
        table.publish("m", [lookup_entry("sha", record, sampling, ANSWER)])
    with Lookup(tmp_path, "sha") as lookup:
        found: list[Completion | None] = []
        threads = [
            threading.Thread(target=lambda: found.extend(lookup.find(record, sampling) for _ in range(20)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each.text if each else None for each in found] == ["x"] * 80
        assert lookup.find(Conversation((Message("user", "a"),)), sampling) is None
    [table] = tables(tmp_path)
    with table:
        assert table.summary().exact_hits == 80


def test_a_file_that_is_no_table_is_told(tmp_path: Path) -> None:
    path = table_path(tmp_path, "t")
    path.write_text("nothing of the kind, and long enough to be looked at" * 20)
    with pytest.raises(StoreUnavailable, match="Publish the table again"):
        LookupTable(path)
    for name in ("", "a/b", "../a", ".hidden", "a" * 64):
        with pytest.raises(UsageError, match="cannot be the name"):
            table_path(tmp_path, name)


def test_the_command_asks_past_a_table_and_lists_tables(published: Path) -> None:
    def outcrop(*args: str) -> str:
        done = CliRunner().invoke(app, args, prog_name="outcrop")
        assert done.exit_code == 0, done.output
        return done.stdout

    asking = ("generate", "--model", str(published), "--prompt", "the card", "--max-new-tokens", "6")
    assert outcrop(*asking) == outcrop(*asking, "--no-lookup")
    assert hits() == (1, 0)
    assert '"published": "words"' in outcrop(*asking, "--output", "json")
    listed = outcrop("models", "published")
    assert "words" in listed
    assert '"exact_hits": 2' in outcrop("models", "published", "--output", "json")
