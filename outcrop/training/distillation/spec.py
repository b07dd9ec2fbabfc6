"""How a student is pulled towards its teacher: divergence, temperature, and the share of the answer itself"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from outcrop.core.spec import Spec, parameter

STATES_WEIGHT = 5.0
Divergence = Literal["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl", "skewed_reverse_kl"]


class DistillationSpec(Spec):
    """The objective of a student, and what of the teacher's distribution is kept for it."""

    divergence: Divergence = parameter(
        "forward_kl",
        "how far the student is from the teacher at a token",
        source="Hinton et al. 2015 (forward); Gu et al. 2024, arXiv 2306.08543 (reverse)",
    )
    mixture: float = parameter(
        0.5,
        "share of the teacher in the mixture of jensen_shannon; of the first distribution in that of skewed ones",
        gt=0,
        lt=1,
        source="Agarwal et al. 2024, arXiv 2306.13649, eq. 1; Ko et al. 2024, arXiv 2402.03898, eq. 5",
    )
    temperature: float = parameter(
        1.0,
        "divides the logits of both; the divergence is multiplied by its square, so that gradients keep their size",
        gt=0,
        le=20,
        source="Hinton et al. 2015, arXiv 1503.02531, §2.1",
    )
    gold_share: float | None = parameter(
        None,
        "weight of cross-entropy with the answer itself, the divergence has the rest; default 0.5, 0.1 where all "
        "answers are the teacher's own",
        ge=0,
        le=1,
    )
    states_weight: float | None = parameter(
        None,
        "weight, beside the others, of how far the student's last hidden states point away from the teacher's at the "
        "tokens of an answer (1 − cosine); default 5 for students with one token per label, and for all where phrases "
        "of short answers are tokens, else 0, for the teacher's states at every token take room in its cache; students "
        "of another width leave it out",
        ge=0,
        source="Sanh et al. 2019, arXiv 1910.01108, §2",
    )
    on_policy_share: float = parameter(
        0.0,
        "share of a step's rows whose answer the student draws itself, at temperature 1; the teacher says how likely "
        "every token of it was, and reverse_kl alone is minimised there",
        ge=0,
        le=1,
        source="Agarwal et al. 2024, arXiv 2306.13649, alg. 1; Gu et al. 2024, arXiv 2306.08543",
    )
    signal: Literal["top", "sampled"] = parameter(
        "top",
        "what is kept of the teacher's distribution: its likeliest tokens and the mass of all others, or draws from it",
        source="Anshumann et al. 2025, arXiv 2503.16870",
    )
    kept_tokens: int = parameter(64, "tokens kept at a place, at most; draws, for sampled", unit="tokens", ge=1, le=256)
    kept_mass: float = parameter(0.999, "tokens are kept until they have this share of the probability", gt=0, le=1)

    @property
    def on_own_answers(self) -> Self:
        """For answers that the student drew itself: they are no gold, and draws from the teacher would be biased."""
        told = {"divergence": "reverse_kl", "gold_share": 0.0, "signal": "top", "states_weight": 0.0}
        return self.model_copy(update=told)

    def resolved(self, *, own_answers: bool) -> Self:
        """With nothing left open. own_answers: the data brings answers, which know more than the teacher."""
        share = self.gold_share if self.gold_share is not None else 0.5 if own_answers else 0.1
        usual = 0.0 if self.on_policy_share else STATES_WEIGHT
        states = usual if self.states_weight is None else self.states_weight
        return self.model_copy(update={"gold_share": share, "states_weight": states})

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.signal == "sampled" and self.divergence not in ("forward_kl", "skewed_kl"):
            raise ValueError(f"draws from the teacher do not give {self.divergence}: take signal top, or forward_kl")
        if self.on_policy_share and self.states_weight:
            raise ValueError("states_weight is for answers that are given: leave it or on_policy_share out")
        return self
