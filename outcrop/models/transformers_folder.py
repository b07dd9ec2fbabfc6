"""Model folders of any architecture that transformers knows, read by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from outcrop.core.errors import ModelError
from outcrop.models.folder import CONFIG, ModelFolder

LONGEST_REASON = 300

_BUILDING = threading.Lock()
"""transformers replaces functions of the whole process while it builds a model: two at once lose tied weights."""

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def read_tokenizer(folder: ModelFolder) -> Any:
    """The folder's own tokenizer. Raises ModelError."""
    with _reading("tokenizer", folder):
        return AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)


def read_config(folder: ModelFolder) -> Any:
    """The folder's configuration. Raises ModelError."""
    with _reading("configuration", folder):
        return AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)


def read_structure(folder: ModelFolder) -> Any:
    """The model without its weights, which take no memory. Raises ModelError."""
    config = read_config(folder)
    with _BUILDING, _reading("configuration", folder), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def read_weights(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """The model of a folder that is no adapter. Raises ModelError."""
    if "quantization_config" in folder.read(CONFIG):
        raise ModelError("The weights are quantised.", "Take the model's weights in full precision.", folder.name)
    with _BUILDING, _reading("model", folder):
        model, account = AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    wrong = sorted({*account["missing_keys"], *(key for key, *_ in account["mismatched_keys"])})
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing or have another shape than {CONFIG} says: {', '.join(wrong[:3])}.",
            "Restore the files of the folder.",
            folder.name,
        )
    return model


@contextmanager
def _reading(what: str, folder: ModelFolder) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  for a broken file the libraries raise anything, Exception itself too
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        reason = reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " …"
        raise ModelError(
            f"The {what} cannot be read: {reason}.", "Restore the files of the folder.", folder.name
        ) from None
