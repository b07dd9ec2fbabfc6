"""`outcrop batch`: answer all rows of files, each distinct request once."""

from __future__ import annotations

from typing import Annotated

import typer

from outcrop.cli.generate import ModelOption
from outcrop.cli.options import (
    RECORDS,
    DetachOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    TemplateOption,
    ToOption,
    VerboseOption,
)
from outcrop.cli.sampling import (
    DEFAULTS,
    BiasOption,
    MinPOption,
    PenaltyOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    TokensOption,
    TopKOption,
    TopPOption,
    biases,
)
from outcrop.cli.workflows import run
from outcrop.core.engines import Precision
from outcrop.core.errors import UsageError
from outcrop.generation.batch import BATCH_TOKENS
from outcrop.generation.batch.runners import RUNNERS

ANSWERS = "Answers"

RowsOption = Annotated[
    list[str],
    typer.Option(
        "--data", metavar="FILE|DIR|s3://…", help="Files of rows, or folders of them, here or in S3. Repeatable."
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format", metavar="NAME", rich_help_panel=RECORDS,
        help="bedrock-batch, openai-batch, or a format of records. Default: recognised from the first rows.",
    ),
]  # fmt: skip
InvocationOption = Annotated[
    str,
    typer.Option(
        "--invocation", metavar="InvokeModel|Converse", rich_help_panel=RECORDS,
        help="What modelInput of Bedrock's rows is the body of.",
    ),
]  # fmt: skip
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", metavar="float32|bfloat16|auto",
        help="In float32 no answer depends on its neighbours; auto takes the faster one.",
    ),
]  # fmt: skip
BatchTokensOption = Annotated[
    int,
    typer.Option("--batch-tokens", min=1, metavar="INT", help="Tokens of prompts and answers in memory at once."),
]
CacheOption = Annotated[
    str,
    typer.Option(
        "--cache", metavar="FILE", rich_help_panel=ANSWERS,
        help="The prediction cache. Default: predictions.sqlite in OUTCROP_HOME.",
    ),
]  # fmt: skip
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", rich_help_panel=ANSWERS, help="Neither take answers from a cache nor keep them.")
]
PublishOption = Annotated[
    str,
    typer.Option(
        "--publish", metavar="NAME", rich_help_panel=ANSWERS,
        help="Publish the answers as a table that outcrop generate looks into first.",
    ),
]  # fmt: skip
RunnerOption = Annotated[
    str,
    typer.Option(
        "--runner", metavar="|".join(RUNNERS),
        help="Who answers: this process, Ray Data (a running Ray, RAY_ADDRESS, or one of its own), or a vLLM in the "
        "environment whose python OUTCROP_VLLM_PYTHON names.",
    ),
]  # fmt: skip
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", min=0, metavar="INT", help="With --runner ray: copies of the model. 0: one on each machine."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with what is answered already.")]


def batch(
    *,
    model: ModelOption,
    data: RowsOption,
    to: ToOption,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    row_format: FormatOption = "",
    invocation: InvocationOption = "InvokeModel",
    max_new_tokens: TokensOption = DEFAULTS.max_new_tokens,
    temperature: TemperatureOption = DEFAULTS.temperature,
    top_k: TopKOption = DEFAULTS.top_k,
    top_p: TopPOption = DEFAULTS.top_p,
    min_p: MinPOption = DEFAULTS.min_p,
    repetition_penalty: PenaltyOption = DEFAULTS.repetition_penalty,
    logit_bias: BiasOption = None,
    seed: SeedOption = DEFAULTS.seed,
    stop: StopOption = None,
    precision: PrecisionOption = "float32",
    batch_tokens: BatchTokensOption = BATCH_TOKENS,
    cache: CacheOption = "",
    no_cache: NoCacheOption = False,
    publish: PublishOption = "",
    runner: RunnerOption = "local",
    workers: WorkersOption = 0,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    detach: DetachOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Answer all rows of files: Bedrock's or OpenAI's batch format, or plain records.

    Equal requests are computed once, and not at all where an earlier job has their answers. A row that cannot be
    answered gets an error and fails nothing. Options of sampling hold where a row does not set them.
    """
    if cache and no_cache:
        raise UsageError("--cache and --no-cache exclude each other.", "Give one of them.")
    sampling = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "logit_bias": biases(logit_bias),
        "seed": seed, "stop_strings": tuple(stop or ()),
    }  # fmt: skip
    run(
        "batch", output, verbose, detach=detach,
        model=model, data=data, to=str(to), columns=columns, template=template, roles=roles, format=row_format,
        invocation=invocation, sampling=sampling, precision=precision, batch_tokens=batch_tokens,
        cache=None if no_cache else cache, publish=publish, runner=runner, workers=workers,
        overwrite=overwrite, resume=resume,
    )  # fmt: skip
