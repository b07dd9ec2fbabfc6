"""Tune the bundled base model on the bundled support requests, and print what the sealed test says.

Run: python examples/tune.py [FOLDER]      (two minutes on two cores)
"""

import sys
from importlib.resources import files
from pathlib import Path

import outcrop
from outcrop.data.mapping import Mapping

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out-tune")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10
requests = str(files("outcrop") / "data" / "bundled" / "support-requests.jsonl")
mapping = Mapping.from_text("prompt=message,completion=intent", "Message: {prompt}\\nIntent:")

checked = outcrop.check_data([requests], mapping)
for problem in checked.as_dict()["problems"][:3]:
    print(f"{problem['count']:4d}  {problem['code']}: {problem['remedy']}")

tuned = outcrop.tune(
    "bundled:pebble-s",
    [requests],
    str(folder / "model"),
    columns="prompt=message,completion=intent",
    template="Message: {prompt}\\nIntent:",
    drop_bad_rows=True,
    settings={"epochs": epochs, "batch_size": 16, "evalPercentage": 15},
)
before, after = tuned.metric_value or (0.0, 0.0)
print(f"exact answers on held-out rows: {before:.1%} before, {after:.1%} after {tuned.steps} steps")

answer = outcrop.generate(tuned.model, "the tent pole snapped on the first night, can you repair it?")
print(answer.text.strip())
