"""Continue the pre-training of the bundled model on text of a domain, and see what it did to other text.

Run: python examples/pretrain.py [FOLDER] [TEXT.jsonl ...]
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import outcrop

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out-pretrain")
folder.mkdir(parents=True, exist_ok=True)
texts = sys.argv[2:]
if not texts:  # the support requests as plain text
    source = files("outcrop") / "data" / "bundled" / "support-requests.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    lines = [json.dumps({"input": row["message"]}) for row in rows if row["message"] and row["message"].strip()]
    texts = [str(folder / "requests.jsonl")]
    Path(texts[0]).write_text("\n".join(lines) + "\n")

result = outcrop.pretrain(
    "bundled:pebble-s", texts, str(folder / "model"), settings={"learning_rate": 5e-4, "eval_percentage": 10}
)
for score in result.scores:
    assert score.before is not None
    print(
        f"{score.name}: {score.before.value:.3f} → {score.after.value:.3f} bits per byte ({score.documents} documents)"
    )
