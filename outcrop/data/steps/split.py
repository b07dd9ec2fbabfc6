"""Split: every row into training, validation or the sealed test, by the rules and with the certificate of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from outcrop.core.errors import DataError
from outcrop.data.assignment import LEFT_OUT, PARTS
from outcrop.data.certificate import certify
from outcrop.data.draw import SplitSpec, draw
from outcrop.data.records import Record
from outcrop.data.split_columns import MeasureSplit
from outcrop.data.steps.columns import Columns
from outcrop.data.steps.step import Decision, Measure, SetStep, Verdict

SYNTHETIC, EARLIER = "synthetic-of-held-out", "reaches-over-a-cut"


class Split(SetStep[SplitSpec]):
    """Shares rows out so that no almost equal prompts stand on two sides and no synthetic row outside of training."""

    spec_type = SplitSpec
    reasons: ClassVar = {
        SYNTHETIC: "a synthetic row that was made from, or is like, a row of validation or test",
        EARLIER: "a row that stays together with one of a later part, where the parts follow each other in time",
    }
    is_last = True

    def check_inputs(self, names: Sequence[str]) -> None:
        """Refuse shares that leave nothing to train on, before anything is read. Raises UsageError."""
        self.spec.shares.check()

    def measure(self, sample: Sequence[Record]) -> Measure:
        """Keys, labels, groups, times, and shingles with their signatures."""
        return MeasureSplit.fit(sample, self.spec.group_by, self.spec.time_by)

    def decide(self, columns: Columns) -> Decision:
        """The part of every row that stays, and the certificate."""
        try:
            drawn = draw(columns, self.spec)
        except DataError as error:
            remedy = f"{error.remedy} To prepare without a split, name the --steps without it."
            raise DataError(error.message, remedy, error.where) from None
        synthetic = drawn.measured.synthetic
        left_out = np.flatnonzero(drawn.part == LEFT_OUT).tolist()
        verdict = Verdict.of((row, SYNTHETIC if synthetic[row] else EARLIER, -1, "") for row in left_out)
        certificate = certify(drawn, self.spec)
        figures = {name: certificate[name] for name in ("counts", "clusters", "groups", "together", "synthetic")}
        parts = drawn.part[drawn.part != LEFT_OUT]
        return Decision(verdict, figures=figures, parts=parts, part_names=PARTS, certificate=certificate)
