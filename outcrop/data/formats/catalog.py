"""The containers by file suffix and the record formats by name. A new one is one file and one line here."""

from __future__ import annotations

from outcrop.core.catalog import Catalog
from outcrop.data.formats.container import Container, TextSource
from outcrop.data.formats.shape import Shape

HERE = "outcrop.data.formats"

CONTAINERS: Catalog[Container] = Catalog(
    "file type",
    {
        "jsonl": f"{HERE}.jsonl:rows",
        "ndjson": f"{HERE}.jsonl:rows",
        "json": f"{HERE}.json_array:rows",
        "csv": f"{HERE}.delimited:csv_rows",
        "tsv": f"{HERE}.delimited:tsv_rows",
        "parquet": f"{HERE}.parquet:rows",
        "txt": f"{HERE}.documents:rows",
        "md": f"{HERE}.documents:rows",
        "markdown": f"{HERE}.documents:rows",
    },
)

TEXTS: Catalog[TextSource] = Catalog(
    "file type of JSON texts",
    {
        "jsonl": f"{HERE}.jsonl:texts",
        "ndjson": f"{HERE}.jsonl:texts",
        "json": f"{HERE}.json_array:texts",
    },
)
"""The containers whose rows are JSON texts, which can be found first and parsed elsewhere."""

DOCUMENTS = ("txt", "md", "markdown")
"""The file types of which a folder may be read as a whole."""

SHAPES: Catalog[Shape] = Catalog(
    "record format",
    {
        # The first that matches a row wins: the more specific stand before the more general.
        "bedrock-conversation-2024": f"{HERE}.converse:SHAPE",
        "claude": f"{HERE}.claude:SHAPE",
        "openai-chat": f"{HERE}.openai_chat:SHAPE",
        "sharegpt": f"{HERE}.sharegpt:SHAPE",
        "alpaca": f"{HERE}.alpaca:SHAPE",
        "prompt-completion": f"{HERE}.prompt_completion:SHAPE",
        "input": f"{HERE}.text:INPUT",
        "text": f"{HERE}.text:TEXT",
    },
)
