"""One token for each phrase of a task: prompts and answers of JSON or templates take a fraction of the steps.

A phrase that ends an answer holds the end token; its name shows it, so that no two tokens have one name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import groupby

from outcrop.core.errors import ModelError
from outcrop.models.loading import LoadedModel
from outcrop.models.new_tokens import NewToken, first_new_id, vocabulary_of, widened
from outcrop.models.phrases import Merge, Run, learn_phrases, spelled
from outcrop.models.rendering import BROKEN_CHARACTER, Renderer

MOST_PHRASES, FEWEST_TIMES = 300, 10
"""Phrases that are made at most, each of them so often in the rows: what is rarer is hardly learnt."""
PHRASES, WRITE = "Phrases", "Let it write them token by token: --student auto."


def find_merges(loaded: LoadedModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Merge]:
    """The phrases of rows, each a prompt and its answer, as merges of the model's tokens and new ones, the commonest
    first. No phrase reaches over the edge of what an answer copies from its prompt, so that it has the same tokens
    there and here.

    Raises ModelError as `vocabulary_of` does, and where the rows have none.
    """
    taken, names = set(vocabulary_of(loaded, PHRASES, WRITE)), _names(loaded)
    first, merges = first_new_id(loaded), list[Merge]()
    ids: dict[Run, int] = {(token,): token for token in names}
    words = {token for token in names if _is_of_word(loaded.renderer.token_bytes(token))}
    special = {*loaded.tokenizer.added_tokens_decoder, *loaded.renderer.stop_ids}
    runs = [run for prompt, answer in rows for run in _runs(prompt, answer, words, special)]
    for left, right in learn_phrases(runs, MOST_PHRASES, FEWEST_TIMES):
        name = "".join(names[token] for token in left + right)
        if left in ids and right in ids and name not in taken:  # neither part was left out, no other token is like it
            taken.add(name)
            ids[left + right] = first + len(merges)
            merges.append((ids[left], ids[right], ids[left + right]))
    if not merges:
        raise ModelError(f"No phrase stands {FEWEST_TIMES} times in the {len(rows):,} rows.", WRITE)
    return merges


def with_phrase_tokens(loaded: LoadedModel, merges: Sequence[Merge]) -> LoadedModel:
    """The model with a token for each phrase, beginning as the mean of its tokens; it stays as it is itself.

    merges: of `find_merges`, for a model with the same tokens.
    """
    runs, names = spelled(merges), _names(loaded)
    made = widened(loaded, [NewToken("".join(names[token] for token in run), run) for run in runs.values()])
    assert list(runs) == list(made.ids), "phrases are numbered in the order of their merges"
    spec = loaded.renderer.spec.model_copy(update={"phrases": list(merges)})
    renderer = Renderer(made.tokenizer, spec, loaded.renderer.stop_ids, where=loaded.folder.name)
    return LoadedModel(loaded.folder, made.model, made.tokenizer, renderer)


def _runs(prompt: Sequence[int], answer: Sequence[int], words: Set[int], special: Set[int]) -> Iterator[list[int]]:
    """What phrases may be of: the parts of both that the answer copies, and those between. words: tokens with a letter
    or a digit, without which two texts have many tokens in common; special: these stand alone, but for the last one of
    an answer, which ends it."""
    shared = set(prompt) & set(answer) & words
    for ids in (prompt, answer):
        copied = [token in shared for token in ids]
        for place in range(1, len(ids) - 1):  # what joins two words of a copy is copied
            copied[place] |= copied[place - 1] and copied[place + 1]
        last = len(ids) if ids is prompt else len(ids) - 1
        alone = [place if place < last and token in special else None for place, token in enumerate(ids)]
        kind = list(zip(alone, copied, strict=True))
        for _, run in groupby(range(len(ids)), kind.__getitem__):
            yield [ids[place] for place in run]


def _is_of_word(written: bytes) -> bool:
    """Whether a letter or a digit is in it, or a part of a character, which may be one."""
    text = written.decode(errors="replace")
    return any(map(str.isalnum, text)) or BROKEN_CHARACTER in text


def _names(loaded: LoadedModel) -> dict[int, str]:
    return {token: name for name, token in loaded.tokenizer.get_vocab().items()}
