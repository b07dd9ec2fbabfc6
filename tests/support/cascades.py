"""A tiny cascade in a folder: two random models, the student's vocabulary cut."""

from __future__ import annotations

from pathlib import Path

import torch

from outcrop.models.cascade import CascadeSpec, Rule, write_cascade
from outcrop.models.folder import STUDENT, ModelFolder
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.rendering import Renderer, RenderingSpec
from outcrop.models.saving import copy_model, save_card, save_tokenizer, save_weights
from outcrop.models.trimming import trim
from tests.support.tiny import tiny_model, tiny_tokenizer

TEXTS = ("my card has not arrived", "a fee", "return the money")


def tiny_student(seed: int = 1) -> LoadedModel:
    """A random model with the tokens of TEXTS, their parts and single characters alone."""
    tokenizer = tiny_tokenizer()
    renderer = Renderer(tokenizer, RenderingSpec(), [tokenizer.eos_token_id])
    folder = ModelFolder("tiny", Path(), None, {})
    whole = LoadedModel(folder, tiny_model(seed), tokenizer, renderer)
    return trim(whole, [tokenizer(text).input_ids for text in TEXTS]).loaded


def write_tiny_cascade(
    folder: Path, base: str, *, answers: Rule, choices: Rule | None = None, labels: tuple[str, ...] = ()
) -> str:
    """The model at `base` with tiny_student inside."""
    student = tiny_student()
    (folder / STUDENT).mkdir(parents=True)
    save_weights(student, {}, folder / STUDENT, torch.float32)
    save_tokenizer(student, folder / STUDENT)
    save_card(folder / STUDENT, student, {})
    copy_model(load_model(base), folder)
    digest = load_model(str(folder / STUDENT)).folder.digest()
    write_cascade(folder, CascadeSpec(student=digest, labels=labels, answers=answers, choices=choices))
    return str(folder)
