"""Split labelled rows, tune twice, and compare both models on the sealed test rows.

Run: python examples/evaluate.py [FOLDER] [EPOCHS] [ROWS]
"""

import sys
from pathlib import Path

import outcrop
from outcrop.data.draw import SplitSpec
from outcrop.data.split import split, write_split
from outcrop.workflows.demo import demo_rows

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out-evaluate")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 6
wanted = int(sys.argv[3]) if len(sys.argv) > 3 else None

rows, problems = demo_rows()
print(f"{len(rows)} usable rows, {problems.rows_with_errors} with defects")
write_split(split(rows[:wanted], SplitSpec(seed=1)), folder / "data")

for method in ("full", "lora"):
    outcrop.tune(
        "bundled:pebble-s",
        [str(folder / "data" / "train.jsonl")],
        str(folder / method),
        validation=[str(folder / "data" / "validation.jsonl")],
        settings={"method": method, "epochs": epochs, "batch_size": 16},
    )

result = outcrop.evaluate(
    [str(folder / "full"), str(folder / "lora")], [str(folder / "data" / "test.jsonl")], str(folder / "report")
)
for system in result.systems:
    score = system.metrics["accuracy"]
    print(f"{system.name:6} {score.value:.1%}  ({score.low:.1%} to {score.high:.1%}, n = {score.n})")
for comparison in result.comparisons:
    print(comparison.sentence)
