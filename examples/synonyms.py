"""Static inference: ask a model for the synonyms of 800 words once, publish the answers, and be served from the table.

Run: python examples/synonyms.py [FOLDER] [WORDS]
The bundled model is tiny and knows few synonyms: what is shown is that its answers are computed once.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import outcrop
from outcrop.data.records import prompt_text
from outcrop.workflows.demo import demo_rows

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out-synonyms")
count = int(sys.argv[2]) if len(sys.argv) > 2 else 800
model, sampling = "bundled:pebble-s", {"max_new_tokens": 6, "stop_strings": ("\n",)}


def question(word: str) -> str:
    """The prompt for one word; its beginning is the same for all, and is computed once."""
    return f"Word: big\nSynonym: large\n\nWord: quick\nSynonym: fast\n\nWord: {word}\nSynonym:"


rows, _ = demo_rows()
seen = Counter(word for row in rows for word in prompt_text(row).lower().split() if word.isalpha() and len(word) > 2)
words = [word for word, _ in seen.most_common(count)]
folder.mkdir(parents=True, exist_ok=True)
data = folder / "words.jsonl"
data.write_text("".join(json.dumps({"prompt": question(word)}) + "\n" for word in words))

done = outcrop.batch(model, [str(data)], str(folder / "answers"), sampling=sampling, publish="synonyms")
print(f"{done.rows} words asked, {done.computed} answers computed in {done.seconds:.1f} s")

start = time.perf_counter()
found = [outcrop.generate(model, question(word), **sampling) for word in words]
each_ms = 1000 * (time.perf_counter() - start) / len(words)
print(f"{sum(bool(answer.published) for answer in found)} served from the table, {each_ms:.1f} ms each")

shouted = outcrop.generate(model, question(words[0].upper()), **sampling)
print(f"{words[0].upper()}: {shouted.text.strip()!r}, from the table {shouted.published or 'of nobody'!r}")
