"""`pretrain`: continued, and from scratch."""

import json
from pathlib import Path

import pytest

import outcrop
from outcrop.core.errors import DataError, UsageError
from outcrop.models.folder import find_model
from outcrop.models.loading import load_tokenizer

FAST = {"epochs": 4, "batch_size": 4, "learning_rate": 5e-3, "precision": "float32", "eval_percentage": 20}


def test_continued_pretraining_lowers_bits_per_byte_and_reports_general_text(base, texts, tmp_path):
    general = tmp_path / "general.jsonl"
    general.write_text("".join(json.dumps({"input": f"unrelated words {n}, other words"}) + "\n" for n in range(8)))
    result = outcrop.pretrain(base, [texts], str(tmp_path / "out"), general=[str(general)], settings=FAST)
    held, other = result.scores
    assert held.before is not None
    assert held.after.value < 0.9 * held.before.value
    assert other.name == "general.jsonl"
    assert other.before is not None
    assert result.tokens > 0


def test_from_scratch_makes_tokenizer_and_model(base, texts, tmp_path):
    shape = tmp_path / "shape.toml"
    shape.write_text(
        "vocabulary = 400\nhidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nintermediate = 64\ncontext = 64\n"
    )
    result = outcrop.pretrain(None, [texts], str(tmp_path / "out"), from_scratch=str(shape), settings=FAST)
    answer = outcrop.generate(str(tmp_path / "out"), "the card", max_new_tokens=5)
    assert len(answer.token_ids) <= 5
    assert result.scores[0].before is None
    settings = {**FAST, "max_steps": 1}
    for number, given in enumerate([str(tmp_path / "out"), base]):  # a model, and a model with other words
        to = tmp_path / f"other-{number}"
        outcrop.pretrain(None, [texts], str(to), from_scratch=str(shape), tokenizer=given, settings=settings)
        assert load_tokenizer(find_model(str(to))).get_vocab() == load_tokenizer(find_model(given)).get_vocab()


def test_a_base_model_brings_its_own_tokenizer(base, texts, tmp_path):
    with pytest.raises(UsageError, match="its own tokenizer"):
        outcrop.pretrain(base, [texts], str(tmp_path / "out"), tokenizer=base)


def test_wrong_shapes_and_labelled_rows_are_refused(rows, texts, tmp_path):
    shape = tmp_path / "shape.toml"
    shape.write_text("hiden = 32\n")
    with pytest.raises(UsageError, match="Did you mean: hidden"):
        outcrop.pretrain(None, [texts], str(tmp_path / "out"), from_scratch=str(shape))
    with pytest.raises(UsageError, match="one of them"):
        outcrop.pretrain(None, [texts], str(tmp_path / "out"))
    with pytest.raises(DataError):
        outcrop.pretrain(None, [rows], str(tmp_path / "out"), from_scratch=str(shape))
    assert not (tmp_path / "out").exists()


def test_texts_with_special_tokens_are_named_all_at_once_or_left_out(base, texts, tmp_path):
    with Path(texts).open("a") as file:
        file.write('{"input": "an <unk> word"}\n{"input": "another <unk> </s> word"}\n')
    with pytest.raises(DataError, match=r"2 of 42 rows contain .*'<unk>' in 2 .*texts.jsonl:41, .*'</s>' in 1"):
        outcrop.pretrain(base, [texts], str(tmp_path / "out"), settings=FAST)
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl"}
    result = outcrop.pretrain(
        base, [texts], str(tmp_path / "out"), settings={**FAST, "max_steps": 1}, drop_bad_rows=True
    )
    assert result.tokens > 0


def test_one_held_out_document_has_no_interval(base, texts, tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text('{"input": "the card and the money"}\n')
    settings = {**FAST, "max_steps": 1}
    result = outcrop.pretrain(base, [texts], str(tmp_path / "out"), validation=[str(held)], settings=settings)
    assert (result.scores[0].after.low, result.scores[0].after.method) == (None, "no interval from one row")


def test_general_texts_of_the_same_name_are_told_apart(base, texts, tmp_path):
    general = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        general.append(tmp_path / place / "news.jsonl")
        general[-1].write_text(f'{{"input": "the news of {place}"}}\n' * 3)
    settings = {**FAST, "max_steps": 1}
    result = outcrop.pretrain(base, [texts], str(tmp_path / "out"), general=list(map(str, general)), settings=settings)
    assert [score.name for score in result.scores[1:]] == list(map(str, general))
