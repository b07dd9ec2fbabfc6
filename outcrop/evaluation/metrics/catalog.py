"""The table of metrics, and which of them fit a data set.

To add one: write a file beside this one that ends in METRIC = …, name it in TABLE, and put its golden values into
tests/golden/metrics.jsonl; the conformance test tells what is missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from outcrop.core.catalog import Catalog
from outcrop.core.errors import UsageError
from outcrop.evaluation.metrics.metric import Metric
from outcrop.evaluation.metrics.numeric_match import is_numeric, marked_number
from outcrop.evaluation.metrics.slot_f1 import slots_of

TABLE = {
    "accuracy": "outcrop.evaluation.metrics.accuracy:METRIC",
    "macro_f1": "outcrop.evaluation.metrics.macro_f1:METRIC",
    "exact_match": "outcrop.evaluation.metrics.exact_match:METRIC",
    "squad_exact_match": "outcrop.evaluation.metrics.squad_exact_match:METRIC",
    "squad_f1": "outcrop.evaluation.metrics.squad_f1:METRIC",
    "slot_f1": "outcrop.evaluation.metrics.slot_f1:METRIC",
    "numeric_match": "outcrop.evaluation.metrics.numeric_match:METRIC",
    "numeric_match_strict": "outcrop.evaluation.metrics.numeric_match_strict:METRIC",
    "bleu": "outcrop.evaluation.metrics.bleu:METRIC",
    "rouge_l": "outcrop.evaluation.metrics.rouge_l:METRIC",
    "perplexity": "outcrop.evaluation.metrics.perplexity:METRIC",
    "bits_per_byte": "outcrop.evaluation.metrics.bits_per_byte:METRIC",
}

METRICS: Catalog[Metric] = Catalog("metric", TABLE)

SHORT_WORDS = 10
"""References of at most this many words (in the median) are answers to be matched; longer ones are texts."""


def default_metrics(references: Sequence[tuple[str, ...]], labels: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the metrics that fit these references (one tuple per row); the first decides.

    Closed labels → accuracy; numbers → numeric match; JSON objects → slot F1; short answers → exact match; texts →
    ROUGE-L and BLEU, the first only where most references are in the Latin alphabet, which is all it sees. Raises
    UsageError for no rows.
    """
    if not references:
        raise UsageError("There are no rows to evaluate on.", "Give at least one test row with a reference answer.")
    if labels:
        return ("accuracy", "macro_f1")
    texts = [text for row in references for text in row]
    if all(is_numeric(text) for text in texts):
        marked = all(marked_number(text) is not None for text in texts)
        return ("numeric_match", "numeric_match_strict") if marked else ("numeric_match",)
    if all(slots_of(text) is not None for text in texts):
        return ("slot_f1", "exact_match")
    if statistics.median(len(text.split()) for text in texts) <= SHORT_WORDS:
        return ("exact_match", "squad_f1")
    latin = sum(any("a" <= letter <= "z" for letter in text.lower()) for text in texts)
    return ("rouge_l", "bleu") if 2 * latin >= len(texts) else ("bleu",)
