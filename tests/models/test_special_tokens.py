"""Rows with special tokens of the base model: all are found at once, whichever model and part they are of."""

from __future__ import annotations

import pytest

from outcrop.core.errors import DataError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.models.rendering import Renderer
from outcrop.models.special_tokens import sift
from tests.support.tiny import tiny_tokenizer

RENDERER = Renderer(tiny_tokenizer())


def rows(*texts: str) -> list[Record]:
    return [Text(text, Origin("rows.txt", line)) for line, text in enumerate(texts, 1)]


def test_every_token_is_named_with_its_count_and_first_places() -> None:
    parts = [rows("clean", *["an <unk> word"] * 8, "</s> and <unk>"), [Pair("a <pad>", "b", Origin("test.jsonl", 4))]]
    with pytest.raises(DataError) as caught:
        sift([RENDERER], parts, drop=False)
    first = "rows.txt:2, rows.txt:3, rows.txt:4, rows.txt:5, rows.txt:6 and 4 more"
    assert caught.value.message == (
        "10 of 11 rows contain special tokens of the base model: "
        f"'<unk>' in 9 ({first}); '</s>' in 1 (rows.txt:10); '<pad>' in 1 (test.jsonl:4)."
    )
    assert "--drop-bad-rows" in caught.value.remedy


def test_rows_are_left_out_on_request_and_what_is_left_renders() -> None:
    turns = Conversation((Message("user", "hello"), Message("assistant", "<s> you")), Origin("chat.jsonl", 1))
    found = sift([RENDERER], [rows("one", "<unk>", "two"), [turns]], drop=True)
    assert [[str(record.origin) for record in part] for part in found.parts] == [["rows.txt:1", "rows.txt:3"], []]
    assert list(map(str, found.left_out)) == ["rows.txt:2", "chat.jsonl:1"]
    assert all(RENDERER.render(record).token_ids for part in found.parts for record in part)


def test_nothing_to_leave_out_is_nothing_to_say() -> None:
    found = sift([RENDERER], [rows("one", "two")], drop=False)
    assert (found.left_out, found.account) == ([], "")


def test_a_row_is_left_out_if_any_of_the_models_cannot_read_it() -> None:
    other = tiny_tokenizer().__class__(tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="</s>")
    assert not Renderer(other).special_tokens_in(rows("a <|x|> b")[0])
    other.add_special_tokens({"additional_special_tokens": ["<|x|>"]})
    found = sift([RENDERER, Renderer(other)], [rows("a <|x|> b", "c")], drop=True)
    assert len(found.parts[0]) == 1
