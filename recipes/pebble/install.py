"""Puts a model that make.sh made into the package, with its card.

    python recipes/pebble/install.py out-pebble small small-instruct pebble-s
    python recipes/pebble/install.py out-pebble large large-instruct pebble-l --base-share 0.3

Run it again after benchmarks/pebble/run.py and benchmarks/quality/run.py: the card shows their results.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup
from safetensors.torch import load_file, save_file
from torch import Tensor

from outcrop.core import page
from outcrop.core.files import write_json
from outcrop.core.svg import element
from outcrop.evaluation.plots import loss_plot
from outcrop.evaluation.results import TrainingCurves
from outcrop.models.folder import BUNDLED

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
WEIGHTS = "model.safetensors"
LICENCE = "Apache-2.0; attributions of the texts in README.md"
GPU_WATTS = 700
"""The most that the GPU may draw: an assumption, said in the card."""


def read(path: Path) -> Any:
    """A JSON file, or None where it was not made yet."""
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def journal(folder: Path) -> list[dict[str, Any]]:
    """The events of a run."""
    return [json.loads(line) for line in (folder / "run" / "journal.jsonl").read_text("utf-8").splitlines()]


def stage(folder: Path) -> dict[str, Any]:
    """Facts of one run for the card."""
    events = journal(folder)
    card, result = read(folder / "outcrop.json"), read(folder / "result.json")
    return {
        "card": card, "result": result, "steps": result["steps"], "minutes": result["minutes"],
        "rate": card["hyperparameters"]["learning_rate"], "batch_size": card["hyperparameters"]["batch_size"],
        "losses": [e for e in events if e["event"] == "evaluation"],
        "steps_told": [e for e in events if e["event"] == "step"],
    }  # fmt: skip


PLOT_WIDTH, PLOT_HEIGHT = 720, 274


def loss_picture(stages: list[tuple[str, dict[str, Any]]]) -> str:
    """Training and held-back loss of each stage, one plot below the other: an SVG that needs nothing else."""
    plots = []
    for number, (title, found) in enumerate(stages):
        curves = TrainingCurves(
            tuple((e["step"], e["loss"]) for e in found["steps_told"]),
            tuple((e["step"], e["validation_loss"], None) for e in found["losses"]),
            stop_reason=title,
        )
        move = f"translate(0 {number * (PLOT_HEIGHT + 30) + 24})"
        heading = element("text", title, x=0, y=-8, **{"class": "label"})
        plots.append(element("g", heading, loss_plot(curves, PLOT_WIDTH), transform=move))
    style, height = element("style", Markup(page.style())), len(stages) * (PLOT_HEIGHT + 30)
    namespace = "http://www.w3.org/2000/svg"
    return str(element("svg", style, *plots, xmlns=namespace, width=PLOT_WIDTH, height=height))


def facts(out: Path, base: str, tuned: str, name: str, base_share: float) -> dict[str, Any]:
    """Everything that the card's template shows."""
    config = read(out / tuned / "config.json")
    first, second = stage(out / base), stage(out / tuned)
    minutes = first["minutes"] + second["minutes"]
    results = {part: read(BENCHMARKS / "pebble" / "results" / f"{part}.json") for part in ("text", "tasks", "cold")}
    quality = BENCHMARKS / "quality" / "results"
    gpu = read(BENCHMARKS / "pebble" / "results" / "gpu.json")
    return {
        "gpu": gpu, "speed": gpu[base],
        "name": name, "base_share": base_share, "first": first, "second": second,
        "config": config, "parameters": parameters(config),
        "tokens": first["steps"] * first["batch_size"] * 512, "hours": minutes / 60,
        "watt_hours": minutes / 60 * GPU_WATTS, "watts": GPU_WATTS,
        "corpus": read(out / "corpus" / "counts.json"), "instructions": read(out / "instructions" / "counts.json"),
        "results": {part: found and found["found"] for part, found in results.items()},
        "tuned": {
            (task, start): read(quality / f"{task}-{start}.json")
            for task in ("banking77", "clinc150") for start in (f"bundled-{name}", f"random-{name}")
        },
    }  # fmt: skip


def parameters(config: dict[str, Any]) -> int:
    """How many weights the shape has; embeddings are tied."""
    width, head = config["hidden_size"], config["head_dim"]
    attention = 2 * width * head * (config["num_attention_heads"] + config["num_key_value_heads"])
    block = attention + 3 * width * config["intermediate_size"] + 2 * width
    return int(config["vocab_size"] * width + config["num_hidden_layers"] * block + width)


def mean_weights(base: Path, tuned: Path, base_share: float) -> dict[str, Tensor]:
    """The weighted mean of both models in bf16, which keeps most of what either knows (Wortsman et al. 2022,
    arXiv 2109.01903, eq. 1); a share of 0 is the tuned model."""
    weights = load_file(tuned / WEIGHTS)
    if base_share:
        before = load_file(base / WEIGHTS)
        weights = {name: torch.lerp(after.float(), before[name].float(), base_share) for name, after in weights.items()}
    return {name: tensor.bfloat16() for name, tensor in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("base")
    parser.add_argument("tuned")
    parser.add_argument("name")
    parser.add_argument("--base-share", type=float, default=0.0, help="of the weights of the base in the mean of both")
    given = parser.parse_args()
    found = facts(given.out, given.base, given.tuned, given.name, given.base_share)
    to = BUNDLED / given.name
    to.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copyfile(given.out / given.tuned / file, to / file)
    weights = mean_weights(given.out / given.base, given.out / given.tuned, given.base_share)
    save_file(weights, to / WEIGHTS, metadata={"format": "pt"})
    (to / WEIGHTS).chmod(0o644)
    write_json(to / "config.json", read(to / "config.json") | {"dtype": "bfloat16"})
    card = found["second"]["card"]
    lineage = {"tokens_trained": found["tokens"], "minutes": found["hours"] * 60, "recipe": "recipes/pebble"}
    kept = {key: card[key] for key in ("schema", "rendering", "stop_ids")} | {"dtype": "bfloat16"}
    write_json(to / "outcrop.json", kept | {"kind": "pretrained", "base": None, "licence": LICENCE, **lineage})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    stages = [("Pre-training", found["first"]), ("Instruction tuning", found["second"])]
    (to / "loss.svg").write_text(loss_picture(stages), "utf-8")
    (to / "README.md").write_text(environment.get_template("card.md.jinja").render(found), "utf-8")


if __name__ == "__main__":
    main()
