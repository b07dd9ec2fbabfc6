"""What is broken in a model folder's own files, told by file and field before a library stumbles over it. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from outcrop.core.errors import ModelError
from outcrop.models import chat_template

COUNTS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
          "max_position_embeddings")  # fmt: skip
"""Fields of config.json that are whole numbers above 0; some architectures leave some out, or list them by layer."""
AMOUNTS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
"""Fields that are numbers above 0."""


def check_config(config: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError naming every size in a config.json that no model can have."""
    wrong = []
    for name, kind in [*((name, int) for name in COUNTS), *((name, float) for name in AMOUNTS)]:
        value = config.get(name)
        if value is None or isinstance(value, list):
            continue
        is_kind = isinstance(value, kind | int) and not isinstance(value, bool)
        if not is_kind or value <= 0:
            allowed = "a whole number above 0" if kind is int else "a number above 0"
            wrong.append(f"{name} is {json.dumps(value)}, not {allowed}")
    if wrong:
        raise ModelError(f"{'; '.join(wrong)}.", "Restore the file.", str(file))


def check_template_file(file: Path) -> None:
    """Raise ModelError for a chat template that is no text, empty, or no Jinja."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _broken(f"is not UTF-8: {error}", str(file)) from None
    except OSError as error:
        raise _broken(f"cannot be read: {error.strerror}", str(file)) from None
    if not text.strip():
        raise _broken("is empty", str(file))
    _check_jinja(text, str(file))


def check_named_template(given: Any, file: Path) -> None:
    """The same for the field chat_template of a tokenizer_config.json: a text, or several by name."""
    where = f"{file}: chat_template"
    if given is None:
        return
    if isinstance(given, list) and all(isinstance(each, dict) for each in given):
        given = {each.get("name"): each.get("template") for each in given}
    templates = given if isinstance(given, dict) else {"default": given}
    if "default" not in templates:
        raise _broken(f"has no template named default, only {', '.join(map(str, templates)) or 'none'}", where)
    for template in templates.values():
        if not isinstance(template, str) or not template.strip():
            raise _broken(f"is {json.dumps(template)}, not a text", where)
        _check_jinja(template, where)


def _check_jinja(text: str, where: str) -> None:
    try:
        chat_template.check(text)
    except jinja2.TemplateSyntaxError as error:
        raise _broken(f"is no Jinja: line {error.lineno}: {error.message}", where) from None


def _broken(what: str, where: str) -> ModelError:
    return ModelError(
        f"The chat template {what}.", "Restore it, or remove it: a model without one gets a plain template.", where
    )
