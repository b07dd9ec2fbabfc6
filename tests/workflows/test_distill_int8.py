"""`distill --int8`: the last stage of a student, with a column of its own, and what becomes of such a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop.core.errors import ModelError, UsageError
from outcrop.core.events import ignore
from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Target
from outcrop.models.folder import STUDENT, find_model
from outcrop.models.int8 import Int8Linear
from outcrop.models.loading import load_model, open_model
from outcrop.workflows.distill import DistillResult
from outcrop.workflows.quantising import Int8, Tried

COLUMNS = "prompt=text,completion=label"
FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}


def distill(base: str, rows: str, to: Path, **more: Any) -> DistillResult:
    return outcrop.distill(
        base, [rows], str(to), faster=0.01, columns=COLUMNS, students=[base], settings=FAST, shots=0, **more
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of three intents, no two of them near-duplicates."""
    intents = ("my card has not arrived", "return the money", "a fee")
    lines = [
        {"text": f"{number * 7919 % 100_003} {intents[number % 3]}", "label": ("card", "refund", "fee")[number % 3]}
        for number in range(90)
    ]
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def made(base: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DistillResult]:
    place = tmp_path_factory.mktemp("int8") / "out"
    return str(place), distill(base, data, place, int8="always")


def test_it_has_a_column_of_its_own_and_is_what_is_proven(made: tuple[str, DistillResult]) -> None:
    place, result = made
    names = [system.name for system in result.evaluation.systems]
    assert names[-2:] == ["student, distilled", "student, int8"]
    assert result.evaluation.candidate == "student, int8"
    facts = result.facts.int8
    assert facts is not None
    assert facts.kept
    assert facts.megabytes < 0.35 * facts.megabytes_before
    assert facts.megabytes == pytest.approx((Path(place) / "model.safetensors").stat().st_size / 1e6)
    assert result.facts.speeds["student, int8"].megabytes < 0.35 * result.facts.speeds["teacher"].megabytes
    assert ", int8: " in result.verdict
    assert facts.sentence in (Path(place) / "report.html").read_text()
    assert json.loads((Path(place) / "outcrop.json").read_text())["weights"] == "int8"
    assert not (Path(place) / "run" / "search").exists()


def test_every_verb_that_asks_takes_it(made: tuple[str, DistillResult], tmp_path: Path) -> None:
    place, result = made
    assert type(load_model(place).model.get_output_embeddings()) is Int8Linear
    assert open_model(place).parameters == find_model(place).parameters == result.parameters
    test = str(Path(place) / "test.jsonl")
    named = "prompt=prompt,completion=completion"
    evaluated = outcrop.evaluate([place], [test], str(tmp_path / "evaluated"), columns=named)
    assert evaluated.systems[-1].answers == result.evaluation.system("student, int8").answers
    assert outcrop.generate(place, "my card has not arrived", max_new_tokens=3).token_ids


def test_training_and_distillation_refuse_it(made: tuple[str, DistillResult], data: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="The weights are int8, tuning takes floats"):
        outcrop.tune(made[0], [data], str(tmp_path / "out"), columns=COLUMNS)
    with pytest.raises(ModelError, match="The weights are int8, distillation takes floats"):
        outcrop.distill(made[0], [data], str(tmp_path / "out"), columns=COLUMNS)
    assert not list(tmp_path.iterdir())


def test_a_cascade_holds_its_student_in_int8(base: str, data: str, tmp_path: Path) -> None:
    result = distill(base, data, tmp_path / "out", int8="always", cascade=True)
    assert [system.name for system in result.evaluation.systems][-2:] == ["student, int8", "cascade"]
    assert find_model(str(tmp_path / "out" / STUDENT)).is_int8
    assert not find_model(str(tmp_path / "out")).is_int8
    assert load_model(str(tmp_path / "out")).student is not None


def test_another_word_is_refused_first(base: str, data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--int8 is alway") as refused:
        distill(base, data, tmp_path / "out", int8="alway")
    assert "always" in refused.value.remedy


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 9, "bootstrap")


@pytest.mark.parametrize(
    ("loss", "latency", "throughput", "kept", "why"),
    [
        (0.01, (1.1, 1.3), (1.2, 1.4), True, "it is faster one prompt at a time and many at once"),
        (0.01, (0.9, 1.2), (1.2, 1.4), True, "it is faster many at once"),
        (0.01, (0.9, 1.2), (0.9, 1.4), False, "no gain of speed is shown"),
        (0.01, (0.7, 0.9), (1.2, 1.4), False, "it is slower one prompt at a time"),
        (0.03, (1.1, 1.3), (1.2, 1.4), False, "it loses more than 2 points on the validation rows"),
    ],
)
def test_auto_keeps_what_is_faster_and_as_good(
    tmp_path: Path, loss: float, latency: tuple[float, float], throughput: tuple[float, float], kept: bool, why: str
) -> None:
    stage = Int8("auto", Target(2, 5), "accuracy", None, 4, 0, tmp_path, ignore)
    lost = {"floats": 0.0, "int8": loss}
    assert stage._decided(lost, estimate(*latency), estimate(*throughput)) == (kept, why)


def test_a_student_that_misses_the_target_in_floats_may_miss_it_as_much_in_int8(tmp_path: Path) -> None:
    stage = Int8("auto", Target(2, 5), "accuracy", None, 4, 0, tmp_path, ignore)
    fast = estimate(1.1, 1.2)
    assert stage._decided({"floats": 0.05, "int8": 0.05}, fast, fast)[0]
    assert not stage._decided({"floats": 0.05, "int8": 0.06}, fast, fast)[0]
    assert Int8("never", Target(2, 5), "accuracy", None, 4, 0, tmp_path, ignore).apply(tmp_path, None, []) == Tried(  # type: ignore[arg-type]
        None, None
    )


def test_a_run_that_goes_on_decides_as_it_did(
    made: tuple[str, DistillResult], base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = made[1].facts.int8
    assert known is not None
    (tmp_path / "int8.json").write_text(json.dumps(known.as_dict()))
    monkeypatch.setattr(Int8, "_measured", lambda *_: pytest.fail("nothing is measured twice"))
    monkeypatch.setattr("outcrop.workflows.quantising.load_model", lambda name: name)
    monkeypatch.setattr("outcrop.workflows.quantising.quantise_folder", lambda place: None)
    monkeypatch.setattr("outcrop.workflows.quantising.extend_card", lambda place, card: None)
    stage = Int8("auto", Target(2, 5), "accuracy", None, 4, 0, tmp_path, ignore)
    assert stage.apply(Path(base), None, []) == Tried(known, base)  # type: ignore[arg-type]
