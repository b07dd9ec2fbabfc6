"""`outcrop distill`: the smallest student that keeps a teacher's quality, with the proof."""

from __future__ import annotations

from typing import Annotated

import typer

from outcrop.cli.console import Output, is_attended
from outcrop.cli.hyperparameters import Hyperparameters, with_hyperparameters
from outcrop.cli.options import (
    MODEL_WORDS,
    RECORDS,
    DataOption,
    DetachOption,
    DropOption,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    ResumeOption,
    RolesOption,
    TemplateOption,
    TestOption,
    ToOption,
    ValidationOption,
    VerboseOption,
)
from outcrop.cli.workflows import load, run
from outcrop.core.errors import UsageError

PANEL = "Teacher and student"

TeacherOption = Annotated[
    str,
    typer.Option(
        "--teacher", metavar="MODEL", help=f"Who is learnt from: {MODEL_WORDS}, openai:MODEL@URL, bedrock:MODEL."
    ),
]
StudentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--student",
        metavar="MODEL|auto|labels|phrases",
        rich_help_panel=PANEL,
        help="A model that may learn; auto: the teacher cut in many ways; labels: the same with one token per label; "
        "phrases: with tokens for phrases of prompts and answers. Repeatable. Default: auto",
    ),
]
WithinOption = Annotated[
    float,
    typer.Option(
        "--within", metavar="POINTS", rich_help_panel=PANEL, help="What may be lost, in points of the metric."
    ),
]
FasterOption = Annotated[
    float,
    typer.Option("--faster", metavar="TIMES", rich_help_panel=PANEL, help="How much faster the student must be."),
]
MetricOption = Annotated[
    str,
    typer.Option(
        "--metric", metavar="NAME", rich_help_panel=PANEL,
        help="What is not to be lost: accuracy, slot_f1, squad_f1 … Default: what fits the answers.",
    ),
]
CascadeOption = Annotated[
    bool,
    typer.Option(
        "--cascade", rich_help_panel=PANEL,
        help="One model of both: the student answers what it is sure of, the teacher the rest.",
    ),
]
Int8Option = Annotated[
    str,
    typer.Option(
        "--int8", metavar="auto|always|never", rich_help_panel=PANEL,
        help="The student's weights in int8, a quarter of the size; auto: where it is faster, too, and as good.",
    ),
]
RelabelOption = Annotated[
    bool,
    typer.Option(
        "--relabel", rich_help_panel=PANEL, help="The teacher answers rows again that have an answer of their own."
    ),
]
TrimOption = Annotated[
    bool,
    typer.Option(
        "--trim/--no-trim",
        rich_help_panel=PANEL,
        help="Cut the vocabulary of students to the task; exact for its texts.",
    ),
]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        metavar="NAME=VALUE",
        rich_help_panel=PANEL,
        help="Of the objective: divergence, mixture, temperature, gold_share, states_weight, on_policy_share, "
        "signal, kept_tokens, kept_mass.",
    ),
]

InstructionOption = Annotated[
    str,
    typer.Option(
        "--instruction",
        metavar="TEXT",
        rich_help_panel=PANEL,
        help="A system message for a remote teacher; students learn to do without it.",
    ),
]
LongestOption = Annotated[
    int | None,
    typer.Option(
        "--longest-answer", metavar="TOKENS", min=1, rich_help_panel=PANEL,
        help="Of an answer of the teacher, where answers are no closed set. Default: as the rows' own, or 256.",
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="NAME=VALUE", rich_help_panel=RECORDS,
        help="Of invocation logs, only those with this request metadata; NAME!=VALUE, or Bedrock's JSON. Repeatable.",
    ),
]
RemoteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--remote",
        metavar="NAME=VALUE",
        rich_help_panel=PANEL,
        help="Of a remote teacher: together, per_minute, tries, timeout_s, temperature, top_logprobs, "
        "input_price, output_price, spend_cap.",
    ),
]

TermsOption = Annotated[
    bool,
    typer.Option(
        "--accept-teacher-terms", rich_help_panel=PANEL,
        help="A remote teacher's terms allow to train on its answers. Remembered; asked on a terminal where not given.",
    ),
]
HourlyPriceOption = Annotated[
    float | None,
    typer.Option(
        "--hourly-price", metavar="USD", rich_help_panel=PANEL,
        help="Of an hour of this machine, for costs. Default: none; costs are told in seconds of this machine.",
    ),
]

ShotsOption = Annotated[
    int | None,
    typer.Option(
        "--shots", metavar="INT", min=0, rich_help_panel=PANEL,
        help="Worked examples for a column of the prompted teacher. Default: 4; none of a remote one, which is paid.",
    ),
]


@with_hyperparameters
def distill(
    *,
    teacher: TeacherOption,
    data: DataOption,
    to: ToOption,
    hyperparameters: Hyperparameters,
    student: StudentOption = None,
    within: WithinOption = 2.0,
    faster: FasterOption = 5.0,
    metric: MetricOption = "",
    cascade: CascadeOption = False,
    int8: Int8Option = "auto",
    relabel: RelabelOption = False,
    trim: TrimOption = True,
    objective: ObjectiveOption = None,
    instruction: InstructionOption = "",
    longest_answer: LongestOption = None,
    remote: RemoteOption = None,
    accept_teacher_terms: TermsOption = False,
    hourly_price: HourlyPriceOption = None,
    shots: ShotsOption = None,
    validation: ValidationOption = None,
    test: TestOption = None,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    where: WhereOption = None,
    drop_bad_rows: DropOption = False,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    detach: DetachOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Make a smaller, faster model that does as well at a task.

    Times students of many shapes before any training, tries the fast ones, trains the best, and proves on a sealed
    test how much is lost and how much is won. Rows need no answers: the teacher gives them, once.
    """
    if not accept_teacher_terms:
        ask_about_terms(teacher, output)
    run(
        "distill", output, verbose, detach=detach,
        teacher=teacher, data=data, to=str(to), students=student or ["auto"], within=within, faster=faster,
        metric=metric, cascade=cascade, int8=int8, relabel=relabel, trim=trim,
        objective=_pairs("--objective", objective), instruction=instruction, longest_answer=longest_answer,
        remote=_pairs("--remote", remote), accept_teacher_terms=accept_teacher_terms,
        hourly_price=hourly_price, shots=shots,
        validation=validation or [], test=test or [],
        settings=hyperparameters.settings, sources=hyperparameters.sources,
        columns=columns, template=template, roles=roles, format=record_format, where=where or [],
        drop_bad_rows=drop_bad_rows, overwrite=overwrite, resume=resume,
    )  # fmt: skip


def ask_about_terms(teacher: str, output: Output) -> None:
    """Ask once, of a person at a terminal, whether a remote teacher's terms allow it; elsewhere the work says what is
    missing. Raises UsageError where the answer is no."""
    if output == "json" or not is_attended():
        return
    if question := load("terms-question")(teacher):
        load("answer-terms")(teacher, allowed=typer.confirm(question, err=True))


def _pairs(flag: str, texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or []]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"{flag} {name!r} is not of the form name=value.", f"Write for instance {flag} NAME=2.")
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}
