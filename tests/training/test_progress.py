"""Progress goes through a checkpoint whole."""

from __future__ import annotations

import dataclasses
import json

from outcrop.training.progress import Losses, Progress
from outcrop.training.scoring import Evaluation
from outcrop.training.stopping import DivergenceWatch, EarlyStopping


def fresh() -> Progress:
    return Progress(EarlyStopping(0.01, 3, higher_is_better=False), DivergenceWatch(), total=100)


def used() -> Progress:
    progress = fresh()
    progress.before = Evaluation(3.0, 0.25)
    progress.step, progress.seconds, progress.estimated_minutes, progress.total = 7, 0.1 + 0.2, 1.5, 40
    progress.stopping.update(5, 2.5)
    progress.watch.check(2.75, 1.0)
    progress.recent = [2.5, 2.25]
    progress.remember(Evaluation(2.5, 0.5))
    progress.recent = [2.125]
    progress.overfitted = True
    return progress


def test_every_field_comes_back() -> None:
    kept, new = used(), fresh()
    new.restore(json.loads(json.dumps(kept.state())))
    for field in dataclasses.fields(Progress):
        assert getattr(kept, field.name) != getattr(fresh(), field.name), f"{field.name} is not tested"
        assert getattr(new, field.name) == getattr(kept, field.name)
    assert isinstance(new.before, Evaluation)
    assert new.history == [Losses(training=2.375, validation=2.5)]


def test_overfitting_shows_once() -> None:
    progress, shown = fresh(), []
    for training, validation in [(3.0, 3.0), (2.0, 3.5), (1.0, 3.6), (0.5, 3.7)]:
        progress.recent = [training]
        shown.append(progress.remember(Evaluation(validation, 0.0)))
    assert shown == [False, False, True, False]
