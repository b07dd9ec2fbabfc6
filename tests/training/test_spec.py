"""THE hyperparameters: bounds, names, Bedrock's names."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.training.spec import TrainingSpec, bedrock_names

BEDROCK = {
    "epochCount": ("epochs", "5", 5),
    "batchSize": ("batch_size", "8", 8),
    "learningRate": ("learning_rate", "0.00001", 1e-5),
    "learningRateMultiplier": ("learning_rate_multiplier", "1.5", 1.5),
    "learningRateWarmupSteps": ("warmup_steps", "10", 10),
    "earlyStoppingThreshold": ("early_stopping_threshold", "0.1", 0.1),
    "earlyStoppingPatience": ("early_stopping_patience", "6", 6),
    "evalPercentage": ("eval_percentage", "20.0", 20.0),
}


def test_bedrocks_names_and_values_as_strings() -> None:
    assert bedrock_names() == {name: ours for name, (ours, _, _) in BEDROCK.items()}
    spec = TrainingSpec.from_bedrock({name: text for name, (_, text, _) in BEDROCK.items()}, method="lora")
    assert spec.method == "lora"
    for ours, _, value in BEDROCK.values():
        assert getattr(spec, ours) == value
        assert type(getattr(spec, ours)) is type(value)


def test_a_name_that_bedrock_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"epochcount.*Did you mean: epochCount\?"):
        TrainingSpec.from_bedrock({"epochcount": "5"})
    with pytest.raises(UsageError, match="epochs"):
        TrainingSpec.from_bedrock({"epochs": "5"})


def test_wrong_values_are_told_by_the_names_that_were_given() -> None:
    with pytest.raises(UsageError) as error:
        TrainingSpec.from_bedrock({"epochCount": "x", "learningRate": "-1"}, dropout=2.0)
    assert [sentence.split(":")[0] for sentence in str(error.value).split("). ")] == [
        "epochCount", "learningRate", "dropout",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"early_stopping_patience": 0}, "early_stopping_patience"),
        ({"dropout": 1.0}, "dropout"),
        ({"method": "qlora"}, "'full' or 'lora'"),
        ({"learning_rte": 1e-3}, "Did you mean: learning_rate?"),
        ({"batch_size": "many"}, "batch_size"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        TrainingSpec.parse(settings)
    assert said in str(error.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(UsageError) as error:
        TrainingSpec.parse({"epochs": 0, "batch_size": 0, "epoch": 1})
    assert all(name in str(error.value) for name in ("epochs", "batch_size", "epoch"))


def test_every_parameter_is_described_and_the_defaults_are_allowed() -> None:
    assert TrainingSpec.parse(TrainingSpec().model_dump()) == TrainingSpec()
    for name, field in TrainingSpec.model_fields.items():
        assert field.description, name
