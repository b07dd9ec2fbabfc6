"""`evaluation-job`: an evaluation job of the service: rows at a URI, answers by a model or given, a score by row."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import write_json
from outcrop.data.records import Origin, Pair
from outcrop.evaluation.comparison import estimate
from outcrop.evaluation.judging import rated
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example, ExampleMetric
from outcrop.generation.cascade import engine_of
from outcrop.models.loading import LoadedModel, load_model
from outcrop.store.places import Places, PlacesSpec
from outcrop.workflows.judge import Judges
from outcrop.workflows.run_folder import RESULT, run_folder

TOGETHER = 64
NAMED_LINES = 50
SUMMARY = "evaluation_summary.json"


@dataclass(frozen=True)
class Scored:
    """A metric on a data set, with its 95 % interval."""

    dataset: str
    metric: str
    value: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True)
class EvaluationJobResult:
    """All scores."""

    scores: tuple[Scored, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class EvaluatedRow:
    """A line of a data set. answer: given with it, None where the model is asked."""

    prompt: str
    reference: str
    answer: str | None
    line: Mapping[str, Any]


def evaluation_job(
    to: str,
    *,
    datasets: Sequence[Mapping[str, Any]],
    model: str,
    identifier: str,
    sampling: Mapping[str, Any],
    output: str,
    places: Mapping[str, Any],
    judges: Mapping[str, Mapping[str, Any]] | None = None,
    listener: Listener = ignore,
) -> EvaluationJobResult:
    """Score answers to every row of the data sets and write Bedrock's output files below `output`.

    datasets: name, uri, task, and metrics (the name that is shown → ours); model: what `find_model` takes, empty where
    the rows bring answers of the model `identifier`; judges: for metrics that a model rates, that model and its rubric.
    Raises DataError with every line that cannot be used.
    """
    store = Places(PlacesSpec.parse(places))
    with run_folder(to, overwrite=False, resume=False, listener=listener) as folder:
        listener({"event": "stage", "title": "Reading and checking the data"})
        read = {dataset["name"]: _read(store, dataset["uri"], "" if model else identifier) for dataset in datasets}
        loaded = load_model(model) if model else None
        scores: list[Scored] = []
        judging = Judges(judges or {}, listener)
        for dataset in datasets:
            rows = read[dataset["name"]]
            answers = _answers(loaded, rows, sampling, listener)
            found, lines = _scored(dataset, identifier, rows, answers, judging)
            model_folder = f"models/{identifier.replace('/', '-')}/taskTypes/{dataset['task']}"
            name = f"{model_folder}/datasets/{dataset['name']}/{dataset['file']}_output.jsonl"
            _put(store, output, name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            scores += found
        result = EvaluationJobResult(tuple(scores))
        _put(store, output, SUMMARY, json.dumps(result.as_dict(), indent=2))
        write_json(folder / RESULT, result.as_dict())
    return result


def _read(store: Places, uri: str, identifier: str) -> list[EvaluatedRow]:
    """The rows at a URI. identifier: of whose answers they must bring, empty where they bring none."""
    rows: list[EvaluatedRow] = []
    problems: list[str] = []
    for place, line in _lines(store, uri):
        try:
            rows.append(_row(line, identifier))
        except ValueError as error:
            problems.append(f"{place}: {error}")
    if problems:
        more = f" … and {len(problems) - NAMED_LINES:,} more" if len(problems) > NAMED_LINES else ""
        raise DataError(f"{len(problems):,} lines cannot be used: {'; '.join(problems[:NAMED_LINES])}{more}")
    if not rows:
        raise DataError(f"There are no rows at {uri}.", "Put .jsonl files there.")
    return rows


def _lines(store: Places, uri: str) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(store.files(uri)):
            target = Path(folder) / str(number)
            store.fetch(uri, file.name, target)
            named = f"{uri.rstrip('/')}/{file.name}".rstrip("/")
            try:
                for count, line in enumerate(target.read_text("utf-8").splitlines(), 1):
                    yield f"{named}:{count}", line
            except UnicodeDecodeError:
                raise DataError(f"{named} is not UTF-8.", "Save it as UTF-8.") from None


def _row(line: str, identifier: str) -> EvaluatedRow:
    """A line as a row. Raises ValueError saying what is wrong with it."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    for name in ("prompt", "referenceResponse"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise ValueError(f"{name} must be a text that is not empty")
    if not identifier:
        return EvaluatedRow(fields["prompt"], fields["referenceResponse"], None, fields)
    given = fields.get("modelResponses")
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        raise ValueError("modelResponses must hold one response")
    if given[0].get("modelIdentifier") != identifier or not isinstance(given[0].get("response"), str):
        raise ValueError(f"modelResponses must hold a response of {identifier}")
    return EvaluatedRow(fields["prompt"], fields["referenceResponse"], given[0]["response"], fields)


def _answers(
    loaded: LoadedModel | None, rows: Sequence[EvaluatedRow], sampling: Mapping[str, Any], listener: Listener
) -> list[str]:
    if loaded is None:
        return [row.answer or "" for row in rows]
    prompts = [tuple(loaded.renderer.prompt(Pair(row.prompt, "", Origin("", n)))) for n, row in enumerate(rows, 1)]
    if long := [n for n, prompt in enumerate(prompts, 1) if len(prompt) >= loaded.context]:
        raise DataError(f"The prompts of rows {long[:NAMED_LINES]} leave no room for an answer.", "Shorten them.")
    engine = engine_of(loaded)
    answers: list[str] = []
    for start in range(0, len(rows), TOGETHER):
        requests = [_request(loaded, prompt, sampling) for prompt in prompts[start : start + TOGETHER]]
        answers += [completion.text for completion in engine.complete(requests)]
        listener({"event": "progress", "title": "Answering", "done": len(answers), "total": len(rows)})
    return answers


def _request(loaded: LoadedModel, prompt: tuple[int, ...], sampling: Mapping[str, Any]) -> CompletionRequest:
    room = min(sampling["max_new_tokens"], loaded.context - len(prompt))
    return CompletionRequest(
        prompt, Sampling(**{**sampling, "max_new_tokens": room, "stop_ids": loaded.renderer.stop_ids})
    )


def _scored(
    dataset: Mapping[str, Any],
    identifier: str,
    rows: Sequence[EvaluatedRow],
    answers: Sequence[str],
    judges: Judges,
) -> tuple[list[Scored], list[dict[str, Any]]]:
    """The scores of the set, and the rows with theirs."""
    labels = tuple(sorted({row.reference.strip() for row in rows}))
    examples = [
        Example(row.prompt, (row.reference.strip(),), answer.strip(), labels)
        for row, answer in zip(rows, answers, strict=True)
    ]
    by_metric: dict[str, list[dict[str, Any]]] = {}
    found = []
    for shown, name in dataset["metrics"].items():
        metric, by_metric[shown] = _measured(shown, name, examples, judges)
        measured = estimate(metric, examples)
        found.append(Scored(dataset["name"], shown, measured.value, measured.low, measured.high, len(rows)))
    lines = [
        {
            "automatedEvaluationResult": {
                "scores": [{"metricName": shown, **by_metric[shown][n]} for shown in by_metric]
            },
            "inputRecord": {name: value for name, value in row.line.items() if name != "modelResponses"},
            "modelResponses": [{"modelIdentifier": identifier, "response": answer}],
        }
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]
    return found, lines


def _measured(
    shown: str, name: str, examples: Sequence[Example], judges: Judges
) -> tuple[ExampleMetric, list[dict[str, Any]]]:
    """A metric, and what is told of each row."""
    if shown in judges:
        judge = judges.called(shown)
        rubric, ratings = judges.rate(shown, examples)
        told = [
            {"result": value, "evaluatorDetails": [{"modelIdentifier": judge, "explanation": why}]}
            for value, why in ratings
        ]
        return rated(rubric, judge, np.array([rating.value for rating in ratings])), told
    metric = METRICS.load(name)
    if not isinstance(metric, ExampleMetric):
        raise UsageError(f"{name} scores no single rows.", "Take another metric.")
    return metric, [{"result": float(score)} for score in metric.scores(examples)]


def _put(store: Places, output: str, name: str, text: str) -> None:
    store.put(output, name, io.BytesIO(text.encode()))
