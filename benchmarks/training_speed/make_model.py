"""Write what both sides start from: a random Llama model with its tokenizer, and LoRA adapters on it.

    python benchmarks/training_speed/make_model.py \
        --texts ../shared/data/corpora/general/*.jsonl.xz --to runs/training-speed/start

Same bytes every time. The model is 12 layers of width 384 with a vocabulary of 16,384, in fp32.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from outcrop.data.mapping import Mapping
from outcrop.data.reading import read
from outcrop.data.records import prompt_text
from outcrop.models.lora import attach, save_adapter
from outcrop.models.scratch import ShapeSpec, learn_tokenizer, new_model
from outcrop.training.methods import lora_shape
from outcrop.training.spec import TrainingSpec

SHAPE = ShapeSpec(vocabulary=16_384, hidden=384, layers=12, heads=6, kv_heads=2, intermediate=1280, context=1024)
SEED = 0
TOKENIZER_CHARACTERS = 20_000_000


def texts(paths: list[Path]) -> Iterator[str]:
    """Documents of all files, an equal share of TOKENIZER_CHARACTERS from each."""
    for path in paths:
        room = TOKENIZER_CHARACTERS // len(paths)
        for record in read(path, Mapping(columns={"text": "text"})):
            yield (text := prompt_text(record)[:room])
            room -= len(text)
            if room <= 0:
                break


def main() -> None:
    """Write model/ and adapter/ into --to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="files of text for the tokenizer")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    folder, adapter = given.to / "model", given.to / "adapter"
    tokenizer = learn_tokenizer(texts(given.texts), SHAPE)
    model = new_model(SHAPE, tokenizer, SEED)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"{model.num_parameters() / 1e6:.1f} M parameters, vocabulary {len(tokenizer)}: {folder}")
    shape = lora_shape(TrainingSpec(method="lora"))
    attach(model, shape, seed=SEED)
    state = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    adapter.mkdir(exist_ok=True)
    save_adapter(model, adapter, str(folder.resolve()), shape, state)
    print(f"rank {shape.rank}, alpha {shape.alpha:g}, {len(state) // 2} layers: {adapter}")


if __name__ == "__main__":
    main()
