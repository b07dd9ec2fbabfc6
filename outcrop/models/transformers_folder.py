"""Model folders of any architecture that transformers knows, read by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from outcrop.core.errors import ModelError, did_you_mean
from outcrop.models.folder import CONFIG, QUANTISATION, TOKENIZER, ModelFolder
from outcrop.models.int8 import WEIGHTS, as_floats, hold_in_int8

LONGEST_REASON = 300

_BUILDING = threading.Lock()
"""transformers replaces functions of the whole process while it builds a model: two at once lose tied weights."""

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def read_tokenizer(folder: ModelFolder) -> Any:
    """The folder's own tokenizer. Raises ModelError."""
    try:
        with _reading("tokenizer", folder):
            return AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
    except ModelError:
        _check_tokenizer_file(folder)
        raise


def read_config(folder: ModelFolder) -> Any:
    """The folder's configuration. Raises ModelError."""
    _check_names(folder)
    with _reading("configuration", folder):
        return AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)


def read_structure(folder: ModelFolder) -> Any:
    """The model without its weights, which take no memory. Raises ModelError."""
    config = read_config(folder)
    with _BUILDING, _reading("configuration", folder), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def read_weights(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """The model of a folder that is no adapter. Raises ModelError."""
    if folder.is_int8:
        return _read_int8(folder)
    if QUANTISATION in folder.read(CONFIG):
        raise ModelError("The weights are quantised.", "Take the model's weights in full precision.", folder.name)
    _check_names(folder)
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
    _check_whole(folder, {*account["missing_keys"], *(key for key, *_ in account["mismatched_keys"])})
    return model


def _read_int8(folder: ModelFolder) -> Any:
    """In fp32 around what is int8."""
    with _BUILDING, _reading("model", folder):
        stored = load_file(folder.path / WEIGHTS)
        config = AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
        delattr(config, QUANTISATION)  # transformers knows other ways only
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
        state = as_floats(stored, folder)
        fitting = {name: tensor for name, tensor in state.items() if wanted.get(name) == tensor.shape}
        model.load_state_dict(fitting, strict=False)
        model.tie_weights()
    _check_whole(folder, {name for name, _ in model.named_parameters()} - fitting.keys())
    hold_in_int8(model, stored)
    return model


def _check_whole(folder: ModelFolder, missing: set[str]) -> None:
    """Raise ModelError for tensors that are not there, or have another shape."""
    wrong = sorted(missing)
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors are missing or have another shape than {CONFIG} says: {', '.join(wrong[:3])}.",
            "Restore the files of the folder.",
            folder.name,
        )


def _check_names(folder: ModelFolder) -> None:
    """Raise ModelError for functions that config.json names and transformers does not have."""
    config, where = folder.read(CONFIG), str(folder.path / CONFIG)
    for field in ("hidden_act", "hidden_activation"):
        given = config.get(field)
        if given is not None and given not in ACT2FN:
            raise ModelError(f"{field} is {given!r}, which is no activation.", did_you_mean(str(given), ACT2FN), where)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
    known = {"default", "mrope", *ROPE_INIT_FUNCTIONS}
    if kind is not None and kind not in known:
        raise ModelError(f"rope_type is {kind!r}, which is no kind of angles.", did_you_mean(str(kind), known), where)


def _check_tokenizer_file(folder: ModelFolder) -> None:
    """Raise ModelError for a tokenizer.json that is broken, which transformers tells of in other words."""
    path = folder.path / TOKENIZER
    if not path.exists():
        return
    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  tokenizers raises Exception itself
        folder.read(TOKENIZER)  # which says where it stops being JSON
        wrong = f"{TOKENIZER} describes no tokenizer: {_said(error)}."
        raise ModelError(wrong, "Restore the file.", str(path)) from None


@contextmanager
def _reading(what: str, folder: ModelFolder) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  for a broken file the libraries raise anything, Exception itself too
        raise ModelError(
            f"The {what} cannot be read: {_said(error)}.", "Restore the files of the folder.", folder.name
        ) from None


def _said(error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " …"
