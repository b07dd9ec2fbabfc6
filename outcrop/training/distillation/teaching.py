"""What a local teacher says of every supervised token, by one forward pass in the trainer's way of computing"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from outcrop.core.seeds import derive
from outcrop.training.batches import Example, pack
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.kernels import chunk_rows
from outcrop.training.layout import ROWS, Segment, Teaching, lay_out
from outcrop.training.trunk import Trunk


@torch.no_grad()
def teach(trunk: Trunk, segments: Sequence[Segment], spec: DistillationSpec, tokens: int, seed: int) -> list[Teaching]:
    """The teacher's distribution at the supervised tokens of each document, in order, computing at most `tokens` tokens
    at once, and its states where the spec weighs them. Draws are a pure function of the seed and the document."""
    trunk.model.eval()
    device, head = trunk.head.weight.device, trunk.head.weight
    examples: list[Example] = [(segment,) for segment in segments]
    found: dict[int, Teaching] = {}
    for group in pack(examples, tokens):
        layout = lay_out([segment for _, segment in group], ROWS).to(device)
        hidden = trunk(layout)
        counts = [int((segment.weights[1:] != 0).sum()) for _, segment in group]
        for (number, segment), part in zip(group, hidden.split(counts), strict=True):
            logits = [F.linear(rows, head).float() / spec.temperature for rows in part.split(chunk_rows(head))]
            logprobs = torch.log_softmax(torch.cat(logits), -1)
            said = _kept(logprobs, spec, derive(seed, "draws", segment.ids.tobytes().hex()))
            found[number] = said._replace(states=part.half().cpu().numpy()) if spec.states_weight else said
    return [found[number] for number in range(len(segments))]


@torch.no_grad()
def states_after(trunk: Trunk, prompts: Sequence[Sequence[int]], tokens: int) -> list[NDArray[np.float16]]:
    """The last hidden state of each prompt [E], from which the first token after it is predicted, in order, computing
    at most `tokens` tokens at once."""
    trunk.model.eval()
    examples: list[Example] = []
    for prompt in prompts:
        ids, weights = np.array([*prompt, 0], np.int32), np.zeros(len(prompt) + 1, np.float32)
        weights[-1] = 1  # of a token after the prompt, whichever
        examples.append((Segment(ids, weights),))
    found: dict[int, NDArray[np.float16]] = {}
    for group in pack(examples, tokens):
        hidden = trunk(lay_out([segment for _, segment in group], ROWS).to(trunk.head.weight.device))
        rows = hidden.half().cpu().numpy()
        found.update((number, row) for (number, _), row in zip(group, rows, strict=True))
    return [found[number] for number in range(len(prompts))]


def _kept(logprobs: Tensor, spec: DistillationSpec, seed: int) -> Teaching:
    return _drawn(logprobs, spec.kept_tokens, seed) if spec.signal == "sampled" else _likeliest(logprobs, spec)


def _likeliest(logprobs: Tensor, spec: DistillationSpec) -> Teaching:
    """The likeliest tokens until they have the wanted mass, and what is left."""
    values, ids = logprobs.topk(min(spec.kept_tokens, logprobs.shape[1]))
    probabilities = values.exp()
    before = probabilities.cumsum(-1) - probabilities
    needed = before < spec.kept_mass
    width = int(needed.sum(-1).max()) if len(needed) else 1
    kept = (probabilities * needed)[:, :width]
    rest = (1 - kept.double().sum(-1)).clamp(min=0).float()
    return Teaching(ids[:, :width].int().cpu().numpy(), kept.cpu().numpy(), rest.cpu().numpy())


def _drawn(logprobs: Tensor, draws: int, seed: int) -> Teaching:
    """Tokens drawn from the teacher, each with its share of the draws: unbiased for the forward divergence
    (Anshumann et al. 2025, arXiv 2503.16870, §3.2)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (
        torch.multinomial(logprobs.exp().cpu(), draws, replacement=True, generator=generator).sort(-1).values.numpy()
    )
    rows = [np.unique(row, return_counts=True) for row in drawn]
    width = max((len(ids) for ids, _ in rows), default=1)
    ids, probabilities = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), np.float32)
    for number, (distinct, counts) in enumerate(rows):
        ids[number, : len(distinct)], probabilities[number, : len(distinct)] = distinct, counts / draws
    return Teaching(ids, probabilities, np.zeros(len(rows), np.float32))
