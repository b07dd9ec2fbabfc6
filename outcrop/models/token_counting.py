"""How many tokens a text has for a model: by its tokenizer alone, without torch."""

from __future__ import annotations

from collections.abc import Callable

from outcrop.core.errors import MissingDependency, ModelError
from outcrop.models.folder import find_model

TOKENIZER = "tokenizer.json"


def token_counter(model: str) -> Callable[[str], int]:
    """The function that counts a text's tokens, without special tokens.

    model: as users name one. Raises ModelError where it has no tokenizer.json.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingDependency.of("tokenizers", "train", "Counting tokens") from None
    folder = find_model(model)
    file = next((each.path / TOKENIZER for each in (folder, folder.root) if (each.path / TOKENIZER).is_file()), None)
    if file is None:
        raise ModelError(f"{model} has no {TOKENIZER}.", "Give a model with a fast tokenizer.")
    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
