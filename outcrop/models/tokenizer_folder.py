"""Tokenizers of Llama folders that their files say everything of, read without transformers."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from outcrop.models.folder import CHAT_TEMPLATE, CONFIG, TOKENIZER, TOKENIZER_CONFIG, FileStates, ModelFolder
from outcrop.models.plain_tokenizer import PlainTokenizer

TOKENIZER_LIKE = re.compile("token|vocab|merges|template|tekken")
UNREAD = {"vocab.json", "merges.txt"}
"""Files that transformers does not read beside tokenizer.json."""
OLD = {"special_tokens_map.json", "added_tokens.json"}
"""Nor these, where tokenizer_config.json lists the added tokens."""
GPT2, GPT2_TOKEN = "GPT2Tokenizer", "<|endoftext|>"
"""The class of SmolLM's folders, and its tokens where the configuration does not name them."""
NAMES = {"bos_token", "eos_token", "unk_token", "pad_token"}


class Added(BaseModel):
    """A token beside the vocabulary, as the files write it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool

    @property
    def token(self) -> AddedToken:
        """As the library has it."""
        return AddedToken(**self.model_dump())


class Names(BaseModel):
    """A tokenizer_config.json that only names tokens: other fields change what the tokenizer does."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tokenizer_class: Literal["TokenizersBackend", "PreTrainedTokenizerFast", "GPT2Tokenizer"]
    bos_token: str | None = None
    eos_token: str | None = None
    unk_token: str | None = None
    pad_token: str | None = None
    extra_special_tokens: list[str] = []
    additional_special_tokens: list[str] = []
    added_tokens_decoder: dict[str, Added] = {}
    add_prefix_space: Literal[False] = False
    chat_template: str | None = None

    # Token ids do not depend on these, nor texts, which are always decoded with their spaces as they are.
    backend: Any = None
    clean_up_tokenization_spaces: bool = False
    errors: Any = None
    is_local: Any = None
    local_files_only: Any = None
    model_input_names: Any = None
    model_max_length: Any = None
    vocab_size: Any = None

    @property
    def special_tokens(self) -> dict[str, str]:
        """Those with a name, by it."""
        class_own = {"bos_token", "eos_token", "unk_token"} if self.tokenizer_class == GPT2 else set()
        own = dict.fromkeys(class_own - self.model_fields_set, GPT2_TOKEN)
        return own | self.model_dump(include=NAMES, exclude_none=True)

    @property
    def lists_added(self) -> bool:
        """Whether the added tokens are those of this file, and not of older ones."""
        return "added_tokens_decoder" in self.model_fields_set

    @property
    def added(self) -> dict[int, AddedToken]:
        """The added tokens that are listed here, by their ids, in the order of these."""
        return dict(sorted((int(number), each.token) for number, each in self.added_tokens_decoder.items()))


def read_plain_tokenizer(folder: ModelFolder) -> PlainTokenizer | None:
    """The tokenizer of a folder of the Llama family; None where transformers might make another one of its files.

    Large files take a good part of a second, so that the last ones are kept as long as the files are the same.
    """
    files = sorted(path for path in folder.path.iterdir() if TOKENIZER_LIKE.search(path.name))
    names = {path.name for path in files}
    if not {TOKENIZER, TOKENIZER_CONFIG} <= names <= {TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE} | UNREAD | OLD:
        return None
    if folder.root.read(CONFIG).get("model_type") != "llama":
        return None
    states = [(path.name, path.stat()) for path in files]
    return _read(folder.path.resolve(), tuple((name, state.st_mtime_ns, state.st_size) for name, state in states))


@lru_cache(maxsize=2)
def _read(folder: Path, state: FileStates) -> PlainTokenizer | None:
    """The tokenizer of a folder whose files are in this state."""
    files = {name for name, *_ in state}
    try:
        names = Names.model_validate_json((folder / TOKENIZER_CONFIG).read_bytes())
        if files & OLD and not names.lists_added:
            return None
        template = names.chat_template
        if CHAT_TEMPLATE in files:
            template = (folder / CHAT_TEMPLATE).read_text(encoding="utf-8")
        backend = (_rebuilt if names.tokenizer_class == GPT2 else _as_stored)(folder / TOKENIZER, names)
    except Exception:  # noqa: BLE001  tokenizers raises it for a broken file; what is wrong, transformers then tells
        return None
    if backend is None or not _is_whole(backend, names):
        return None
    return PlainTokenizer(backend, names.special_tokens, template)


def _as_stored(path: Path, names: Names) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def _rebuilt(path: Path, names: Names) -> Tokenizer | None:
    """As transformers' class makes it: of vocabulary, merges and post-processor, and of the added tokens anew."""
    described = json.loads(path.read_text(encoding="utf-8"))
    model = described["model"]
    rest = Tokenizer.from_str(
        json.dumps({**described, "model": {"type": model["type"], "vocab": {}, "merges": []}, "added_tokens": []})
    )
    merges = [_pair(merge) for merge in model["merges"]]
    backend = Tokenizer(
        BPE(
            vocab=model["vocab"], merges=merges, dropout=None, continuing_subword_prefix="", end_of_word_suffix="",
            fuse_unk=False,
        )
    )  # fmt: skip
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = rest.post_processor
    stored = {each.pop("id"): AddedToken(**each) for each in described["added_tokens"]}
    listed = names.added if names.lists_added else dict(sorted(stored.items()))
    backend.add_tokens(list(listed.values()))
    plain = rest.truncation is None and rest.padding is None
    return backend if plain and [backend.token_to_id(each.content) for each in listed.values()] == [*listed] else None


def _pair(merge: Any) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _is_whole(backend: Tokenizer, names: Names) -> bool:
    """Whether there is nothing that transformers would add or change: every named or listed token is there as it would
    add it."""
    found = backend.get_added_tokens_decoder()
    simple = {
        token.content
        for token in found.values()
        if token.special and not (token.normalized or token.lstrip or token.rstrip or token.single_word)
    }
    extra = names.extra_special_tokens or names.additional_special_tokens
    if not {*names.special_tokens.values(), *extra} <= simple:
        return False
    if any(repr(found.get(number)) != repr(token) for number, token in names.added.items()):
        return False
    return backend.truncation is None and backend.padding is None and backend.post_processor is not None
