"""Rubrics: what a judge is asked, what its ratings are worth, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from outcrop.core.errors import UsageError
from outcrop.evaluation.comparison import estimate
from outcrop.evaluation.judging import BUILTIN, Rubric, rated
from outcrop.evaluation.metrics.metric import Example

EXAMPLES = [Example(f"question {n}", ("reference",), "{{prompt}} \\1") for n in range(5)]


@pytest.mark.parametrize("rubric", BUILTIN.values(), ids=lambda rubric: rubric.name)
def test_rubrics_name_what_is_judged_and_can_be_written_and_read(rubric: Rubric) -> None:
    question = rubric.question(EXAMPLES[0])
    assert "question 0" in question
    assert "{{prompt}} \\1" in question  # the answer's own braces are text
    assert ("reference" in question) == ("{{ground_truth}}" in rubric.instructions)
    assert Rubric.parse(json.loads(json.dumps(rubric.as_dict()))) == rubric
    assert [rubric.value_of(word) for word in json.loads(rubric.choice)] == sorted(v for _, v in rubric.ratings)
    assert {rubric.ratings[0][1], rubric.ratings[-1][1]} == {0.0, 1.0}


def test_ratings_are_a_metric_with_an_interval() -> None:
    ratings = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    found = estimate(rated(BUILTIN["Builtin.Helpfulness"], "a judge", ratings), EXAMPLES)
    assert found.value == 0.5
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.5 < found.high <= 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"instructions": "{{prediction}} of {{secret}}", "ratings": [["a", 1]]}, "secret"),
        ({"instructions": "{{prediction}}", "ratings": [["a", 1], ["a", 2]]}, "same definition"),
    ],
)
def test_rubrics_that_cannot_be_used_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Rubric.parse({"name": "own", **given})
