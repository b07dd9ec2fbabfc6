"""A token-classification model as a recogniser, on a tiny one made here."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from outcrop.core.errors import ModelError
from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.records import Text
from outcrop.models.entities import EntityModel

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "zorg", "blimp", "went", "to", "quux", "."]
LABELS = ["O", "B-PER", "I-PER", "B-LOC"]
LABEL_OF = {"zorg": 1, "blimp": 2, "quux": 3}


def save(folder: Path, labels: list[str]) -> str:
    """A model that reads each word's label off its embedding, so that its answers are known."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=0, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=12, id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        embeddings = model.bert.embeddings
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.word_embeddings.weight.zero_()
        model.classifier.weight.zero_()
        for index, word in enumerate(WORDS):
            embeddings.word_embeddings.weight[index, LABEL_OF.get(word, 0)] = 1.0
        for label in range(len(labels)):
            model.classifier.weight[label, label] = 5.0
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("model"), LABELS)


def test_words_become_values_at_their_places(folder: str) -> None:
    model = EntityModel(folder)
    text = "to zorg blimp went to quux ."
    assert model.types == ("name", "place")
    assert [(each.type, text[each.start : each.end]) for each in model.find(text)] == [
        ("name", "zorg blimp"),
        ("place", "quux"),
    ]
    assert all(0.9 < each.score <= 1 for each in model.find(text))


def test_long_texts_are_read_in_windows(folder: str) -> None:
    text = "went to . " * 20 + "zorg blimp . quux " * 5
    values = [text[each.start : each.end] for each in EntityModel(folder).find(text)]
    assert values == ["zorg blimp", "quux"] * 5


def test_it_joins_the_other_recognisers_and_travels(folder: str) -> None:
    model = pickle.loads(pickle.dumps(EntityModel(folder)))
    done = Anonymiser(AnonymiseSpec(), model)(Text("zorg blimp went to quux . a.k@corp.example"))
    assert isinstance(done.record, Text)
    assert done.record.text == "<NAME_1> went to <PLACE_1> . <EMAIL_1>"


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        EntityModel(str(tmp_path))
    with pytest.raises(ModelError, match="The labels of"):
        EntityModel(save(tmp_path / "other", ["O", "B-MISC", "I-MISC", "B-PROD"]))
