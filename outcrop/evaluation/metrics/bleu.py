"""Corpus BLEU by sacrebleu (Post 2018, "A Call for Clarity in Reporting BLEU Scores"), 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU

from outcrop.evaluation.metrics.metric import Example, FloatArray, SetMetric, Sums

_ORDER = 4


def summarise(examples: Sequence[Example]) -> Sums:
    """Per row: matched and total n-grams of orders 1 to 4, answer length, closest reference length."""
    # effective_order changes no count; it silences sacrebleu's advice about sentence scores, which are not used.
    counter = BLEU(effective_order=True)
    rows = np.empty((len(examples), 2 * _ORDER + 2))
    for row, example in zip(rows, examples, strict=True):
        score = counter.sentence_score(example.answer, list(example.references))
        row[:] = [*score.counts, *score.totals, score.sys_len, score.ref_len]
    return Sums(rows, _corpus_bleu)


def _corpus_bleu(sums: FloatArray) -> FloatArray:
    """BLEU from summed counts [..., 10] → [...], computed by sacrebleu, whose rounding may exceed 100."""
    table = np.rint(sums).astype(int).reshape(-1, sums.shape[-1]).tolist()
    values = [
        BLEU.compute_bleu(row[:_ORDER], row[_ORDER:-2], row[-2], row[-1], smooth_method="exp").score for row in table
    ]
    return np.minimum(values, 100.0).reshape(sums.shape[:-1])


def signature(examples: Sequence[Example]) -> str:
    """sacrebleu's signature: what a reader needs to get the same number."""
    counts = {len(example.references) for example in examples}
    references = str(counts.pop()) if len(counts) == 1 else "var"
    return f"nrefs:{references}|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"


METRIC = SetMetric(
    name="bleu", title="BLEU", high=100.0, source="sacrebleu, corpus level", signature=signature, summarise=summarise
)
