"""Learns the tokenizer that both models share, from the texts that they are trained on.

    python recipes/pebble/tokenizer.py recipes/pebble/small.toml out-pebble/tokenizer TEXT.jsonl.gz…
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from outcrop.models.scratch import ShapeSpec, learn_tokenizer


def texts(paths: list[Path]) -> Iterator[str]:
    """The texts of all files, in order."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    given = parser.parse_args()
    tokenizer = learn_tokenizer(texts(given.texts), ShapeSpec.from_file(given.shape))
    tokenizer.save_pretrained(str(given.to))
    print(f"{len(tokenizer):,} tokens")


if __name__ == "__main__":
    main()
