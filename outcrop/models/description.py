"""A tokenizer as the JSON that describes it (tokenizer.json of the tokenizers library): read, changed, made anew."""

from __future__ import annotations

import copy
import json
from typing import Any

from tokenizers import Tokenizer


def described(tokenizer: Any) -> dict[str, Any]:
    """The description of a transformers fast tokenizer, or of a PlainTokenizer."""
    found: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return found


def rebuilt(tokenizer: Any, description: dict[str, Any]) -> Any:
    """A copy of the tokenizer that is as described. Added tokens keep their ids, whatever the vocabulary has: the
    library would number those that are not in it by how many tokens there are, without a word."""
    model = description["model"]
    added = {token["content"]: token["id"] for token in description["added_tokens"]}
    whole = {**description, "model": {**model, "vocab": model["vocab"] | added}}
    made = copy.deepcopy(tokenizer)
    made._tokenizer = Tokenizer.from_str(json.dumps(whole))
    return made


def size(tokenizer: Any) -> int:
    """One more than the highest id: ids may have gaps, so that there can be fewer tokens."""
    return int(max(tokenizer.get_vocab().values())) + 1
