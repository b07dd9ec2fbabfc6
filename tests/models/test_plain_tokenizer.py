"""A tokenizer that is read without transformers gives what transformers' gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from outcrop.core.completions import Constraint
from outcrop.data.records import Conversation, Message, Pair
from outcrop.generation.constraints import Constraints
from outcrop.models.folder import CHAT_TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, bundled_names, find_model
from outcrop.models.loading import load_renderer, load_tokenizer, open_tokenizer
from outcrop.models.plain_tokenizer import PlainTokenizer
from tests.models.chat import CHATML
from tests.models.folders import edit, write_model

PIECES = (
    "<|begin|>", "<|end|>", "<|user|>", "<|pad|>", "<s>", "</s>", "<unk>", " ", "\n", "12", "card's", "你好", "e\u0301",
    "😀",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=8).map("".join)


MANY = 100_001
"""More tokens than transformers leaves alone in other families."""


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    """Change tokenizer.json, and return its added tokens."""
    content = json.loads((folder / TOKENIZER).read_text())
    change(content)
    (folder / TOKENIZER).write_text(json.dumps(content))
    added: list[dict[str, Any]] = content["added_tokens"]
    return added


def listed(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    """Added tokens as a tokenizer_config.json of transformers 4 lists them."""
    return {str(token["id"]): {name: token[name] for name in token if name != "id"} for token in tokens}


def as_llama3(folder: Path) -> Path:
    """A folder whose tokenizer's files are those of Llama 3: many tokens, and all special ones listed."""

    def grow(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        vocabulary |= {f"token{number}": number for number in range(max(vocabulary.values()) + 1, MANY)}
        begin = {"id": "<s>", "ids": [1], "tokens": ["<s>"]}
        parts = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        content["post_processor"] = {
            "type": "TemplateProcessing", "single": parts, "pair": parts, "special_tokens": {"<s>": begin},
        }  # fmt: skip

    edit(
        folder / TOKENIZER_CONFIG, tokenizer_class="PreTrainedTokenizerFast", clean_up_tokenization_spaces=True,
        added_tokens_decoder=listed(changed(folder, grow)), model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens=None,
    )  # fmt: skip
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<pad>"}')
    return folder


def as_smollm(folder: Path, **fields: Any) -> Path:
    """A folder whose tokenizer's files are those of SmolLM2: digits apart, and everything there twice."""

    def split(content: dict[str, Any]) -> None:
        digits = {"type": "Digits", "individual_digits": True}
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}

    tokens = changed(folder, split)
    edit(
        folder / TOKENIZER_CONFIG, tokenizer_class="GPT2Tokenizer", add_prefix_space=False, vocab_size=300,
        added_tokens_decoder=listed(tokens), additional_special_tokens=["<s>", "<pad>"], extra_special_tokens=None,
    )  # fmt: skip
    edit(folder / TOKENIZER_CONFIG, **fields)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<pad>"}')
    return folder


def as_saved(folder: Path) -> Path:
    """A folder of SmolLM2's class as transformers 5 saves it: its added tokens are in tokenizer.json alone."""
    load_tokenizer(find_model(str(as_smollm(folder)))).save_pretrained(folder)
    for old in ("special_tokens_map.json", "vocab.json", "merges.txt"):
        (folder / old).unlink(missing_ok=True)
    return folder


FORMS: dict[str, Callable[[Path], Path]] = {
    "tiny": lambda folder: folder, "llama3": as_llama3, "smollm": as_smollm, "saved": as_saved,
}  # fmt: skip


@pytest.fixture(scope="module", params=[*FORMS, *bundled_names()])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checked folder."""
    form = FORMS.get(request.param)
    name = f"bundled:{request.param}"
    if form is not None:
        name = str(form(write_model(tmp_path_factory.mktemp(request.param) / "model")))
    return find_model(name)


@pytest.fixture(scope="module")
def pair(folder: Any) -> tuple[Any, PlainTokenizer]:
    """Its tokenizer as transformers reads it, and as we do."""
    plain = open_tokenizer(folder)
    assert isinstance(plain, PlainTokenizer)
    return load_tokenizer(folder), plain


@pytest.mark.contract
@settings(max_examples=200)
@given(text=TEXTS, special=st.booleans())
def test_ids_and_texts_are_the_same(pair: tuple[Any, PlainTokenizer], text: str, special: bool) -> None:
    theirs, ours = pair
    ids = theirs(text, add_special_tokens=special).input_ids
    assert ours(text, add_special_tokens=special).input_ids == ids
    assert ours([text, text], add_special_tokens=special).input_ids == [ids, ids]
    assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
    assert ours(text).input_ids == theirs(text).input_ids


LONG = "my card's 12 e\u0301 你好 " * 20


@pytest.mark.contract
@settings(max_examples=100)
@given(pieces=st.lists(st.sampled_from([*PIECES, LONG, LONG + "x", ""]), max_size=8))
def test_pieces_are_remembered_and_ids_stay_the_same(pair: tuple[Any, PlainTokenizer], pieces: list[str]) -> None:
    theirs, ours = pair
    text = "".join(pieces)
    assert ours(text, add_special_tokens=False).input_ids == theirs(text, add_special_tokens=False).input_ids


def test_a_long_beginning_is_encoded_once(pair: tuple[Any, PlainTokenizer]) -> None:
    ours = PlainTokenizer(Counting(pair[1].backend_tokenizer), pair[1].special_tokens_map, None)
    end = str(ours.eos_token)
    for number in range(3):
        ours(f"{LONG}{end}question {number}{end}", add_special_tokens=False)
    assert ours.backend_tokenizer.encoded.count(LONG) == 1


class Counting:
    """A tokenizer that notes what it encodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.encoded = tokenizer, list[str]()

    def encode(self, text: str, *, add_special_tokens: bool) -> Any:
        self.encoded.append(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.mark.parametrize(
    ("scheme", "token"),
    [
        ("always", AddedToken("<e>", special=True)),
        ("never", AddedToken("<e>", special=True)),
        ("first", AddedToken("<e>", special=True)),
        ("always", AddedToken("<e>", special=True, lstrip=True)),
        ("always", AddedToken("<e>", special=True, rstrip=True)),
        ("always", AddedToken("<e>", single_word=True)),
        ("always", AddedToken("<E>", normalized=True)),
    ],
    ids=str,
)
def test_where_the_place_of_a_piece_matters_texts_are_encoded_whole(scheme: str, token: AddedToken) -> None:
    """Pieces as SentencePiece makes them: ▁ for spaces, and one in front, of the text or of each piece."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in "abcdefgh<>")], 0))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.add_tokens([token, AddedToken("<f>", special=True, normalized=False)])
    ours = PlainTokenizer(backend, {}, None)
    for text in ("ab<e>ab", "ab <e> ab", "<e>ab<e>", "ab<e><f><f> ab", "ab<E>ab", "<f>ab cd", "cd<e>x", "<e> <f>a"):
        whole = backend.encode(text, add_special_tokens=False).ids
        assert ours(text, add_special_tokens=False).input_ids == whole, text


@pytest.mark.contract
def test_names_and_vocabulary_are_the_same(pair: tuple[Any, PlainTokenizer]) -> None:
    theirs, ours = pair
    for field in (
        "bos_token", "bos_token_id", "eos_token", "eos_token_id", "pad_token", "special_tokens_map", "chat_template",
        "added_tokens_decoder",
    ):  # fmt: skip
        assert getattr(ours, field) == getattr(theirs, field), field
    assert (ours.get_vocab(), len(ours)) == (theirs.get_vocab(), len(theirs))


@pytest.mark.contract
def test_records_are_rendered_the_same(folder: Any, pair: tuple[Any, PlainTokenizer]) -> None:
    theirs, ours = (load_renderer(folder, tokenizer) for tokenizer in pair)
    talk = Conversation((Message("user", "when?"), Message("assistant", "now"), Message("user", "grüße 12")))
    for record in (Pair("the card", "is here"), talk):
        assert ours.prompt(record) == theirs.prompt(record)
    row, expected = ours.render(Pair("the card", "is here")), theirs.render(Pair("the card", "is here"))
    assert row == expected
    assert ours.stop_ids == theirs.stop_ids
    assert ours.token_texts(row.token_ids) == theirs.token_texts(row.token_ids)


@pytest.mark.contract
def test_constraints_allow_the_same_tokens(pair: tuple[Any, PlainTokenizer]) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("llguidance")
    masks = []
    for tokenizer in pair:
        matcher = Constraints(tokenizer, len(tokenizer)).grammar(Constraint("regex", "(card|fee)+"), (), "")
        assert matcher is not None
        logits = torch.zeros(len(tokenizer))
        matcher.forbid(logits)
        masks.append(logits)
    assert torch.equal(*masks)
    assert 0 < int((masks[0] == 0).sum()) < len(masks[0])


def tokenizer_config(**fields: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / TOKENIZER_CONFIG, **fields)


def tokenizer(change: Callable[[Tokenizer], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        made = Tokenizer.from_file(str(folder / TOKENIZER))
        change(made)
        made.save(str(folder / TOKENIZER))

    return apply


def added(**fields: object) -> Callable[[Path], object]:
    """Change the first of the added tokens."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / TOKENIZER).read_text())
        content["added_tokens"][0] |= fields
        (folder / TOKENIZER).write_text(json.dumps(content))

    return apply


NEW = {
    "id": 7, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
    "special": True,
}  # fmt: skip

UNUSUAL = {
    "another class": tokenizer_config(tokenizer_class="LlamaTokenizer"),
    "no class": tokenizer_config(tokenizer_class=None),
    "a field that is not known": tokenizer_config(split_special_tokens=True),
    "a token that must be added": tokenizer_config(extra_special_tokens=["<|new|>"]),
    "a name that must be added": tokenizer_config(mask_token="<mask>"),
    "several templates": tokenizer_config(chat_template=[{"name": "default", "template": CHATML}]),
    "tokens of old": lambda folder: (folder / "added_tokens.json").write_text('{"<|old|>": 300}'),
    "names of old": lambda folder: (folder / "special_tokens_map.json").write_text('{"eos_token": "<pad>"}'),
    "more templates": lambda folder: (folder / "additional_chat_templates").mkdir(),
    "another architecture": lambda folder: edit(folder / "config.json", model_type="mistral"),
    "texts that are cut": tokenizer(lambda made: made.enable_truncation(3)),
    "texts that are padded": tokenizer(lambda made: made.enable_padding(length=5)),
    "names that the class has by itself": lambda folder: as_smollm(folder, unk_token=None),
    "a space in front of all": lambda folder: as_smollm(folder, add_prefix_space=True),
    "tokens of another id": lambda folder: as_smollm(folder, added_tokens_decoder=listed([NEW])),
    "tokens of another kind": lambda folder: as_smollm(folder, added_tokens_decoder=listed([NEW | {"lstrip": True}])),
    "tokens of another place": lambda folder: edit(
        as_llama3(folder) / TOKENIZER_CONFIG, added_tokens_decoder=listed([NEW])
    ),
    "special tokens that take their space": added(rstrip=True),
    "special tokens that are not special": added(special=False),
}


@pytest.mark.contract
@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_anything_unusual_is_read_by_transformers(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    change(folder)
    found = open_tokenizer(find_model(str(folder)))
    assert type(found) is type(load_tokenizer(find_model(str(folder))))


@pytest.mark.contract
def test_a_template_in_a_file_goes_before_that_of_the_configuration(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    edit(folder / TOKENIZER_CONFIG, chat_template="{{ messages }}")
    for expected in ("{{ messages }}", CHATML):
        model = find_model(str(folder))
        plain = open_tokenizer(model)
        assert isinstance(plain, PlainTokenizer)
        assert plain.chat_template == load_tokenizer(model).chat_template == expected
        (folder / CHAT_TEMPLATE).write_text(CHATML)


def test_files_are_read_once_as_long_as_they_are_the_same(tmp_path: Path) -> None:
    model = find_model(str(as_smollm(write_model(tmp_path / "model"))))
    first = open_tokenizer(model)
    assert open_tokenizer(model) is first
    edit(model.path / TOKENIZER_CONFIG, chat_template=CHATML)
    again = open_tokenizer(model)
    assert (first.chat_template, again.chat_template) == (None, CHATML)
