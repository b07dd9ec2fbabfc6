"""Write the rows of the benchmark: labelled data as the token ids and the loss mask that both sides train on.

    python benchmarks/training_speed/make_rows.py --model runs/training-speed/start/model \\
        --data ../shared/data/intents/banking77/train.jsonl.gz --rows 640 --to runs/training-speed/rows.jsonl

One JSON object a line: input_ids, completion_mask (1 where a token is trained), in the order of training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from outcrop.core.files import write_atomic
from outcrop.data.mapping import Mapping
from outcrop.data.reading import load
from outcrop.models.folder import find_model
from outcrop.models.loading import load_renderer, load_tokenizer

MAPPING = Mapping(
    columns={"prompt": "text", "completion": "label"},
    template="Classify the customer message into an intent.\nMessage: {prompt}\nIntent:",
)
SEED = 0


def main() -> None:
    """Draw rows by SEED, render them as `outcrop tune` does, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    folder = find_model(given.model)
    renderer = load_renderer(folder, load_tokenizer(folder))
    records = load(given.data, MAPPING)
    drawn = np.random.default_rng(SEED).permutation(len(records))[: given.rows]
    lines = []
    for number in drawn:
        row = renderer.render(records[number])
        mask = [int(weight) for weight in row.weights]
        lines.append(json.dumps({"input_ids": row.token_ids, "completion_mask": mask}))
    write_atomic(given.to, "\n".join(lines) + "\n")
    print(f"{len(lines)} rows: {given.to}")


if __name__ == "__main__":
    main()
