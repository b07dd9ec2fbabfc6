"""A token-classification model as a recogniser of names, places and organisations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from outcrop.core.errors import ModelError
from outcrop.data.anonymise.findings import Finding

TYPE_OF = {
    "per": "name", "person": "name", "name": "name", "firstname": "name", "lastname": "name", "givenname": "name",
    "surname": "name", "loc": "place", "location": "place", "gpe": "place", "city": "place", "country": "place",
    "state": "place", "address": "address", "street": "address", "street_address": "address",
    "streetaddress": "address", "org": "organisation", "organization": "organisation", "organisation": "organisation",
    "corporation": "organisation",
    "email": "email", "email_address": "email", "phone": "phone", "phone_number": "phone", "phonenumber": "phone",
    "dateofbirth": "birth-date", "date_of_birth": "birth-date", "ssn": "national-id", "us_ssn": "national-id",
}  # fmt: skip
"""Label of common models, in small letters and without B- or I- → type of finding."""

OVERLAP = 32
"""Tokens that neighbouring windows of a long text share."""

LONGEST_WINDOW = 512


class Piece(NamedTuple):
    """A token's place in the text, its type ("" for none), whether it begins a value, and the label's probability."""

    start: int
    end: int
    type: str
    begins: bool
    score: float


class EntityModel:
    """Finds what a local folder with a token-classification model (config.json, safetensors, tokenizer) has learned.

    Raises ModelError for a folder that cannot be used, or none of whose labels is a type of finding. Nothing is
    downloaded, and no code from the folder is run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        if not (Path(folder) / "config.json").is_file():
            raise ModelError(f"{folder} holds no model: there is no config.json.", "Give a local folder.")
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **options)
            self._model = AutoModelForTokenClassification.from_pretrained(
                folder, use_safetensors=True, **options
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder} cannot be loaded: {error}", "Give a token-classification model.") from error
        if not self._tokenizer.is_fast:
            raise ModelError(
                f"The tokenizer of {folder} does not tell where tokens stand.", "Give one with tokenizer.json."
            )
        labels: dict[int, str] = self._model.config.id2label
        self._types = [TYPE_OF.get(_bare(labels[index]).lower(), "") for index in range(len(labels))]
        self._begins = [labels[index].upper().startswith("B-") for index in range(len(labels))]
        self.types = tuple(sorted({kind for kind in self._types if kind}))
        if not self.types:
            raise ModelError(
                f"The labels of {folder} are {', '.join(labels.values())}.",
                f"Give a model with labels such as {', '.join(list(TYPE_OF)[:6])}.",
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return EntityModel, (self._folder,)

    def find(self, text: str) -> Iterator[Finding]:
        """Every value; its score is the least probability of its tokens' labels."""
        open_one: list[Piece] = []
        for piece in self._pieces(text):
            last = open_one[-1] if open_one else None
            goes_on = (
                last is not None
                and piece.type == last.type
                and not piece.begins
                and not text[last.end : piece.start].strip()
            )
            if last is not None and not goes_on:
                yield _finding(open_one)
                open_one = []
            if piece.type:
                open_one.append(piece)
        if open_one:
            yield _finding(open_one)

    @torch.inference_mode()
    def _pieces(self, text: str) -> Iterator[Piece]:
        """The tokens of the text in order, each once: windows overlap, and the later one decides."""
        positions = min(LONGEST_WINDOW, getattr(self._model.config, "max_position_embeddings", LONGEST_WINDOW))
        encoded = self._tokenizer(
            text,
            truncation=True,
            max_length=positions,
            stride=min(OVERLAP, positions // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        pieces: dict[int, Piece] = {}
        for ids, offsets, special in zip(
            encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            scores_SV = self._model(torch.tensor([ids])).logits[0].float().softmax(-1)
            best = scores_SV.max(-1)
            for (start, end), skipped, score, label in zip(
                offsets, special, best.values.tolist(), best.indices.tolist(), strict=True
            ):
                if not skipped and end > start:
                    pieces[start] = Piece(start, end, self._types[label], self._begins[label], score)
        return iter([pieces[start] for start in sorted(pieces)])


def _bare(label: str) -> str:
    return label[2:] if label[:2].upper() in ("B-", "I-", "E-", "S-", "L-", "U-") else label


def _finding(pieces: list[Piece]) -> Finding:
    kind = pieces[0].type
    return Finding(kind, pieces[0].start, pieces[-1].end, min(piece.score for piece in pieces), f"model:{kind}")
