"""Ten customization jobs of the service, thirty kill -9 of server, controller, runners and trainers: as undisturbed?

    python -m benchmarks.service.kill [--jobs 10] [--kills 30] [--pause-s 3] [--database URL]

The jobs come by boto3 while processes are killed, each repeated by its token until it is answered, and fine-tune a tiny
random model for different numbers of epochs. At the end the weights that each job left in the bucket are compared, byte
by byte, with those of the same job that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.service.process import machine
from outcrop.core import settings
from outcrop.core.events import ignore
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.service.administration import create_keys
from outcrop.workflows.job import perform
from tests.service.test_recovery import insist
from tests.support.bedrock import ROLE, write_lines
from tests.support.killing import Kept, Killer
from tests.support.serving import serve_words
from tests.support.tiny import tiny_model, tiny_tokenizer

MODEL = "outcrop.tiny-v1:0"
RESULTS = Path(__file__).parent / "kill.json"
WORDS = ["card", "money", "fee", "order", "balance", "transfer", "account", "exchange", "charge", "cancel", "late"]


def main() -> None:
    """Run, kill, compare, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--pause-s", type=float, default=3.0, help="mean time between kills")
    parser.add_argument("--database", default="", help="URL; default a new SQLite file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OUTCROP_HOME"] = f"{scratch}/home"
        if given.database:
            os.environ["OUTCROP_DATABASE"] = given.database
        found = _measured(Path(scratch), given)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(RESULTS.read_text())
    if found["differing"] or found["statuses"] != {"Completed": given.jobs} or found["models"] != given.jobs:
        raise SystemExit("Not every job ended as an undisturbed one.")


def _measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    tiny_model().save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    keys, port = create_keys("default"), _free_port()
    bucket = Path(os.environ["OUTCROP_HOME"]) / "buckets" / keys["account"] / "data"
    bucket.mkdir(parents=True)
    prompts = [f"{WORDS[n % 11]} {WORDS[n * 3 % 7]} {n * 37 % 101}" for n in range(64)]
    write_lines(bucket / "rows.jsonl", [{"prompt": text, "completion": f" {len(text) % 3}"} for text in prompts])
    client = boto3.client(
        "bedrock", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    spec = ControllerSpec(
        database=settings.database(), poll_s=0.2, cpu_slots=2, gpu_slots=0, runner=RunnerSpec(lease_s=10)
    )
    words, log = serve_words("--port", str(port), "--model", f"{MODEL}={folder / 'base'}"), (folder / "log").open("ab")
    serve = Kept(lambda: subprocess.Popen(words, stdout=log, stderr=log), lambda: _listens(port))
    with log, Killer(spec, given.jobs, {"server": serve}) as killer:
        began = time.monotonic()
        submitting = threading.Thread(target=_submit, args=(client, given.jobs))
        submitting.start()
        killer.run(given.kills, given.pause_s, print)
        submitting.join()
        seconds = time.monotonic() - began
        jobs = killer.queue.newest()
        doubled = sum(
            [event.number for event in killer.queue.events(job.id)] != list(range(1, job.event_count + 1))
            for job in jobs
        )
        statuses = _statuses(client)
        models = len(insist(client.list_custom_models)["modelSummaries"])
        differing = [job.id for job in jobs if _differs(job.arguments, folder)]
    return {
        "jobs": len(jobs), "kills": killer.killed, "attempts": sorted(job.attempt for job in jobs),
        "statuses": statuses, "models": models, "jobs_with_events_lost_or_doubled": doubled, "differing": differing,
        "minutes": round(seconds / 60, 1), "database": spec.database.partition(":")[0], "machine": machine(),
    }  # fmt: skip


def _submit(client: Any, jobs: int) -> None:
    for number in range(jobs):
        insist(
            client.create_model_customization_job,
            jobName=f"job-{number}", customModelName=f"model-{number}", roleArn=ROLE, baseModelIdentifier=MODEL,
            clientRequestToken=f"token-{number}", trainingDataConfig={"s3Uri": "s3://data/rows.jsonl"},
            outputDataConfig={"s3Uri": "s3://data/out/"},
            hyperParameters={"epochCount": str(number + 1), "learningRate": "0.001", "batchSize": "4"},
        )  # fmt: skip


def _statuses(client: Any) -> Counter[str]:
    """Of all jobs, once the server has registered their ends."""
    while True:
        jobs = insist(client.list_model_customization_jobs)["modelCustomizationJobSummaries"]
        found = Counter(str(job["status"]) for job in jobs)
        if "InProgress" not in found:
            return found
        time.sleep(0.2)


def _differs(arguments: dict[str, Any], folder: Path) -> bool:
    """Whether the weights of a job are others than those of the same job, undisturbed."""
    name = Path(arguments["to"]).name
    whole = {**arguments, "to": str(folder / name), "output": f"s3://data/whole/{name}"}
    perform("customize", whole, name, ignore)
    return any(
        (Path(arguments["to"]) / file).read_bytes() != (folder / name / file).read_bytes()
        for file in ("model.safetensors", "run/journal.jsonl")
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        number: int = chosen.getsockname()[1]
    return number


if __name__ == "__main__":
    main()
