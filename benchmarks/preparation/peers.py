"""The other sides, each run in the environment of its own: datasketch's LSH and datatrove's MinHash pipeline.

    python peers.py datasketch|datatrove ROWS.jsonl FOLDER WORKERS N_GRAMS

Prints one JSON object: seconds, and the numbers of the rows that were kept.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def datasketch_side(rows: Path, folder: Path, workers: int, n_grams: int) -> list[int]:
    """As text-dedup does it: word n-grams, 128 permutations, a row that meets a kept one in the index goes."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.75 if n_grams == 1 else 0.7, num_perm=128)
    kept = []
    with rows.open(encoding="utf-8") as source, (folder / "kept.jsonl").open("w", encoding="utf-8") as target:
        for number, line in enumerate(source):
            words = "".join(sign if sign.isalnum() else " " for sign in json.loads(line)["prompt"].lower()).split()
            grams = {" ".join(words[start : start + n_grams]) for start in range(max(1, len(words) - n_grams + 1))}
            sketch = MinHash(num_perm=128)
            sketch.update_batch([gram.encode() for gram in grams])
            if not index.query(sketch):
                index.insert(number, sketch)
                kept.append(number)
                target.write(line)
    return kept


def datatrove_side(rows: Path, folder: Path, workers: int, n_grams: int) -> list[int]:
    """Its four steps on one machine; 14 buckets of 8 as it comes, 25 of 5 for single words."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    buckets, hashes = (25, 5) if n_grams == 1 else (14, 8)
    config = MinhashConfig(n_grams=n_grams, num_buckets=buckets, hashes_per_bucket=hashes)
    parts = folder / "parts"
    parts.mkdir()
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    for part in range(workers):
        (parts / f"{part}.jsonl").write_text("".join(lines[part::workers]), encoding="utf-8")
    reader = JsonlReader(str(parts), text_key="prompt", id_key="id")
    writer = JsonlWriter(str(folder / "kept"), compression=None)
    work = str(folder / "work")
    steps = (
        (workers, [reader, MinhashDedupSignature(f"{work}/sign", config=config)]),
        (buckets, [MinhashDedupBuckets(f"{work}/sign", f"{work}/buckets", config=config)]),
        (1, [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)]),
        (workers, [reader, MinhashDedupFilter(f"{work}/remove"), writer]),
    )
    for number, (tasks, pipeline) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=f"{work}/log{number}").run()
    return sorted(
        int(json.loads(line).get("id", 0))  # the writer leaves out a 0
        for path in (folder / "kept").glob("*")
        for line in path.read_text(encoding="utf-8").splitlines()
    )


SIDES = {"datasketch": datasketch_side, "datatrove": datatrove_side}


def main() -> None:
    """Run one side."""
    side, rows, folder, workers, n_grams = sys.argv[1:]
    began = time.perf_counter()
    kept = SIDES[side](Path(rows), Path(folder), int(workers), int(n_grams))
    print(json.dumps({"seconds": time.perf_counter() - began, "kept": kept}))


if __name__ == "__main__":
    main()
