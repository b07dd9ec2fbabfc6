"""Write the bundled data set: python recipes/support-requests/make.py [--to FILE]. Same bytes every time."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from compose import ROWS, Composer, Dice, Request
from dirt import Row, plant

SEED = 1
BUNDLED = Path(__file__).parents[2] / "outcrop" / "data" / "bundled" / "support-requests.jsonl"


def clean_requests() -> list[Request]:
    """The rows before any dirt, grouped by intent."""
    composer = Composer(SEED)
    return [request for intent, count in ROWS.items() for request in composer.requests(intent, count)]


def json_lines(rows: list[Row]) -> str:
    """One JSON object a line, ended by a line feed; other letters than ASCII stand as they are."""
    numbered = (
        {"id": f"req-{number:04}", "channel": row.channel, "message": row.message, "intent": row.intent}
        for number, row in enumerate(rows, start=1)
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in numbered)


def main() -> None:
    """Write the file to where the package has it, or to --to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=BUNDLED)
    target: Path = parser.parse_args().to
    rows = plant(clean_requests(), Dice(f"{SEED}/dirt"))
    target.write_bytes(json_lines(rows).encode())
    print(f"{len(rows)} rows written to {target}")


if __name__ == "__main__":
    main()
