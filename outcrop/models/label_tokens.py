"""One token for each label of a closed set: to answer is one prefill and one product, as with a classification head.

The rows of the output matrix that belong to these tokens are a linear head over the labels. An answer is one of them
and ends with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tokenizers import pre_tokenizers

from outcrop.data.records import Pair
from outcrop.models.loading import LoadedModel
from outcrop.models.new_tokens import NewToken, vocabulary_of, widened
from outcrop.models.rendering import Renderer

LABELS, WRITE = "Labels", "Let it write them: --student auto."


def with_label_tokens(loaded: LoadedModel, labels: Sequence[str]) -> LoadedModel:
    """The model with a token for each label, beginning as the mean of the tokens that it was written with.

    The model itself stays as it is. Raises ModelError as `vocabulary_of` does.
    """
    taken = set(vocabulary_of(loaded, LABELS, WRITE))
    tokens = []
    for label in labels:
        pieces = loaded.renderer.answer(Pair("a", label), label)[:-1]
        tokens.append(NewToken(_name(label, taken), pieces))
        taken.add(tokens[-1].name)
    made = widened(loaded, tokens)
    ids = dict(zip(labels, made.ids, strict=True))
    spec = loaded.renderer.spec.model_copy(update={"label_tokens": ids})
    renderer = Renderer(made.tokenizer, spec, loaded.renderer.stop_ids, where=loaded.folder.name)
    return LoadedModel(loaded.folder, made.model, made.tokenizer, renderer)


def _name(label: str, taken: Collection[str]) -> str:
    """The label as the tokenizer writes bytes, with a space before it, or more where that is a token already."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = f" {label}"
    while (name := "".join(piece for piece, _ in byte_level.pre_tokenize_str(text))) in taken:
        text = f" {text}"
    return name
