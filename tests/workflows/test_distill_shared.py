"""Six students of one teacher: what it is asked for the first one is all that it is ever asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop.core.completions import ScoreRequest
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.training.layout import Segment
from outcrop.workflows import teachers
from tests.support.tiny import tiny_model, tiny_tokenizer

SETTINGS = {"max_steps": 1, "batch_size": 16, "precision": "float32"}
SHAPES: list[dict[str, Any]] = [
    {"num_hidden_layers": 1}, {"num_hidden_layers": 3}, {"intermediate_size": 32}, {"intermediate_size": 96},
    {"hidden_size": 64}, {"num_key_value_heads": 4},
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the teacher computes: every row of which it weighs labels, or says how likely other words were."""
    seen: list[object] = []
    teach, weigh = teachers.teach, EmbeddedEngine.weigh

    def teaching(trunk: Any, segments: Sequence[Segment], *rest: Any) -> Any:
        seen.extend(segment.ids.tobytes() for segment in segments)
        return teach(trunk, segments, *rest)

    def weighing(engine: EmbeddedEngine, requests: Sequence[ScoreRequest], *rest: Any) -> Any:
        seen.extend(request.prompt_ids for request in requests)
        return weigh(engine, requests, *rest)

    monkeypatch.setattr(teachers, "teach", teaching)
    monkeypatch.setattr(EmbeddedEngine, "weigh", weighing)
    return seen


def test_six_students_share_one_pass_of_the_teacher(base: str, rows: str, tmp_path: Path, asked: list[object]) -> None:
    names = [str(tmp_path / f"student-{number}") for number in range(len(SHAPES))]
    for name, shape in zip(names, SHAPES, strict=True):
        tiny_model(**shape).save_pretrained(name)
        tiny_tokenizer().save_pretrained(name)
    results = [
        outcrop.distill(
            base, [rows], f"{name}-out", students=[name], faster=0.01, int8="never", shots=0, relabel=True,
            columns="prompt=text,completion=label", settings=SETTINGS,
        )
        for name in names
    ]  # fmt: skip
    first, *others = (result.facts for result in results)
    assert len(asked) == len(set(asked)) == first.teacher_calls > 0
    assert [found.teacher_calls for found in others] == [0] * 5
    assert {found.teacher_calls_cached for found in others} == {first.teacher_calls + first.teacher_calls_cached}
    assert {result.student for result in results} == set(names)
