"""Which peak learning rate is best, by method and width of the base model: what `default_rate` is drawn through.

    python benchmarks/rates/run.py --base bundled:pebble-s --base ../shared/models/stories260K

Every run: the bundled support requests, 4 epochs of batches of 16, seed 0; the score is the validation loss.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import outcrop
from outcrop.core.files import write_json
from outcrop.data.split import split, write_split
from outcrop.models.loading import load_model
from outcrop.workflows.demo import demo_rows
from outcrop.workflows.evaluate import reproduction
from outcrop.workflows.resolving import default_rate

RATES = {"full": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3), "lora": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", action="append", required=True)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_split(split(demo_rows()[0]), folder / "data")
        for base in parser.parse_args().base:
            width = load_model(base).model.config.hidden_size
            for method, rates in RATES.items():
                for rate in rates:
                    result = outcrop.tune(
                        base, [str(folder / "data" / "train.jsonl")], str(folder / f"{method}-{rate}"), overwrite=True,
                        validation=[str(folder / "data" / "validation.jsonl")],
                        settings={"method": method, "learning_rate": rate, "epochs": 4, "batch_size": 16,
                                  "select_by": "validation_loss", "early_stopping_patience": 4},
                    )  # fmt: skip
                    found.append({
                        "base": base if ":" in base else Path(base).name, "width": width,
                        "method": method, "rate": rate,
                        "validation_loss": result.validation_loss[1], "exact_match": (result.metric_value or (0, 0))[1],
                        "default": default_rate(width, method),
                    })  # fmt: skip
                    print(json.dumps(found[-1]), flush=True)
    write_json(Path(__file__).parent / "results.json", {"runs": found, "machine": dict(reproduction().machine)})


if __name__ == "__main__":
    main()
