"""What is refused where one model with weights of floats is needed: cascades, and weights in int8. No torch."""

from __future__ import annotations

from outcrop.core.errors import ModelError
from outcrop.models.cascade import refuse_cascade
from outcrop.models.folder import ModelFolder


def require_floats(folder: ModelFolder, what: str) -> None:
    """Raise ModelError for a folder that training, cutting and other programs cannot take. what: who cannot."""
    refuse_cascade(folder, what)
    if folder.root.is_int8:
        remedy = "Make it with --int8 never, or get the floats back: docs/distillation.md, Weights in int8."
        raise ModelError(f"The weights are int8, {what} takes floats.", remedy, folder.name)
