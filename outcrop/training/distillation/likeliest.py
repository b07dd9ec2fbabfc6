"""What an endpoint tells of its tokens as a student's targets: by equal tokens, or by the labels that they begin"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from outcrop.core.completions import ToldToken
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.layout import Teaching

Row = tuple[dict[int, float], float]
"""Of one place: probabilities of tokens, and of all others together."""
Masses = dict[frozenset[str], float]
"""Probability of each set of labels that a token leaves open."""
Open = Callable[[bytes], frozenset[str]]
"""The labels that begin with some text."""


def certain(ids: Sequence[int]) -> Teaching:
    """A teacher of which nothing but the answer is known."""
    return _teaching([({token: 1.0}, 0.0) for token in ids])


def followed(first: Teaching, second: Teaching) -> Teaching:
    """Two teachings end to end."""
    return _teaching([*_rows(first), *_rows(second)])


def from_tokens(
    told: Sequence[ToldToken], ids: Sequence[int], pieces: Sequence[bytes | None], numbers: Mapping[bytes, int],
    spec: DistillationSpec,
) -> Teaching | None:  # fmt: skip
    """The distribution at each token of an answer whose tokens are the student's, byte for byte; None for others.

    ids: the answer in the student's tokens, with the one that ends it, which an endpoint need not tell: it is certain
    then. pieces: the bytes of each id; numbers: the ids of bytes that one token alone has. What the student has no
    token for joins the rest.
    """
    if len(told) not in (len(ids), len(ids) - 1):
        return None
    rows: list[Row] = []
    for token, number in zip(told, ids, strict=False):
        if token.piece != pieces[number]:
            return None
        known = {numbers[piece]: math.exp(logprob) for piece, logprob in token.likeliest if piece in numbers}
        rows.append(_kept({**known, number: math.exp(token.logprob)}, spec))
    rows += [({number: 1.0}, 0.0) for number in ids[len(told) :]]
    return _teaching(rows)


def from_labels(
    told: Sequence[ToldToken], answer: str, label_ids: Mapping[str, Sequence[int]], begun: Open, spec: DistillationSpec
) -> Teaching | None:
    """The distribution at each token of a label, from that over labels; the two tokenizers need not be alike.

    label_ids: each label in the student's tokens, with the one that ends it. A label has the probability of the token
    that decides for it; what a token leaves open between labels is in the rest wherever they part. None where the last
    token that was told leaves the answer open.
    """
    masses = label_masses(told, answer, begun)
    if masses is None:
        return None
    ids = label_ids[answer]
    rows: list[Row] = []
    for place, token in enumerate(ids):
        known: dict[int, float] = {}
        rest = max(0.0, 1 - sum(masses.values())) if place == 0 else 0.0
        for group, mass in masses.items():
            inside = [label_ids[each] for each in group if list(label_ids[each][:place]) == list(ids[:place])]
            following = {each[place] for each in inside if len(each) > place}
            if len(inside) == len(group) and len(following) == 1:
                number = following.pop()
                known[number] = known.get(number, 0.0) + mass
            elif inside:
                rest += mass
        total = rest + sum(known.values())
        if not known.get(token):
            return None
        rows.append(_kept({number: mass / total for number, mass in known.items()}, spec))
    return _teaching(rows)


def label_masses(told: Sequence[ToldToken], answer: str, begun: Open) -> Masses | None:
    """Probabilities of labels along the tokens of an answer: at each place that does not decide yet, every other token
    has what it says of the labels that go on with it. None where the end leaves the answer open."""
    masses: Masses = {}
    path, left, whole = b"", 1.0, frozenset([answer])
    for token in told:
        if begun(path.lstrip()) <= whole:
            break
        for piece, logprob in token.likeliest:
            group = begun((path + piece).lstrip())
            if not group and _is_end(piece):
                group = frozenset(label for label in begun(path.lstrip()) if label.encode() == path.strip())
            if group and piece != token.piece:
                masses[group] = masses.get(group, 0.0) + left * math.exp(logprob)
        left *= math.exp(token.logprob)
        path += token.piece
    if len(begun(path.lstrip())) > 1:
        return None
    masses[whole] = masses.get(whole, 0.0) + left
    return masses


def _is_end(piece: bytes) -> bool:
    """Whether a token ends an answer: white space, nothing, or a special token by its name: </s>, <|im_end|>."""
    bare = piece.strip()
    return not bare or (bare.startswith(b"<") and bare.endswith(b">"))


def _kept(probabilities: dict[int, float], spec: DistillationSpec) -> Row:
    """The likeliest tokens until they have the wanted mass, and what is left."""
    ranked = sorted(probabilities.items(), key=lambda each: -each[1])[: spec.kept_tokens]
    before, kept = 0.0, {}
    for number, probability in ranked:
        if before >= spec.kept_mass:
            break
        kept[number] = probability
        before += probability
    return kept, max(0.0, 1 - before)


def _rows(teaching: Teaching) -> list[Row]:
    return [
        ({int(n): float(p) for n, p in zip(ids, probabilities, strict=True) if p > 0}, float(rest))
        for ids, probabilities, rest in zip(teaching.ids, teaching.probabilities, teaching.rest, strict=True)
    ]


def _teaching(rows: Sequence[Row]) -> Teaching:
    """The rows as arrays; told probabilities are rounded, so each row is made to sum to one."""
    width = max(len(known) for known, _ in rows)
    ids, probabilities = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), np.float32)
    rest = np.zeros(len(rows), np.float32)
    for place, (known, others) in enumerate(rows):
        total = sum(known.values()) + others
        ids[place, : len(known)] = list(known)
        probabilities[place, : len(known)] = [probability / total for probability in known.values()]
        rest[place] = others / total
    return Teaching(ids, probabilities, rest)
