"""What samplers by a loss or a gradient share: the guard against noise, the weights, the switch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from operators.contract import Explained, Part, Recipe
from operators.cut import share_below
from operators.kernels.grouping import GroupKey
from operators.kernels.noise import HARM
from operators.kernels.sampling import Budget, Count, one_budget, sampled


class SeekRecipe(Recipe, Explained):
    """The shape of a sampler that seeks rows on which a model does badly; the plan tells its guard."""

    score: str
    """The numeric column to seek by."""
    reference: str | None = None
    """A column with the same score under a model trained on held-out, clean data: what is sought is score -
    reference, where that is above 0 (RHO-LOSS, Mindermann et al. 2022): high for what can be learnt and is
    not yet. `loss_gap` gives both: `score: gap.learner`, `reference: gap.reference`."""
    cap: Annotated[float, Field(gt=0, lt=100)] | None = None
    """The percentile of the score, with `group` of each group, above which a row is never taken: 90 leaves
    out the tenth with the highest scores."""
    noise: Literal["accepted"] | None = None
    """`accepted`: sample without `cap` and `reference`, because the data has no wrong labels."""
    suspect: str | None = None
    """A boolean column: rows where it is true are never taken."""
    smoothing: float = Field(0.0, ge=0)
    """The c that is added to every score, so that rows that a model knows keep a chance."""
    exponent: float = Field(1.0, ge=0, le=1)
    """The k of the weights: 1 is unbiased; below it the large scores weigh more; 0 makes all weights 1."""
    min_tau: float | None = Field(None, ge=1)
    """Below this tau rows are drawn uniformly (all weights are equal), and the run says so."""
    keep_rows: Count | dict[GroupKey, Count] | None = None
    """How many rows stay; with `group` in each group, or by the group's name ('*' for all others)."""
    keep_share: float | None = Field(None, ge=0, le=1)
    """The share of all rows that stays, rounded down; with `group` of each group."""
    keep_tokens: Count | dict[GroupKey, Count] | None = None
    """How many tokens stay, at most; with `group` in each group, or by the group's name."""
    tokens: str = "tokens"
    """The integer column that counts a row's tokens, used with `keep_tokens`; `bytes` is there always."""
    group: str | None = None
    """A column of strings or integers: each of its values has a budget, a percentile and a tau of its own."""
    seed: int | None = None
    """Seed of the noise; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        one_budget(self)
        if self.cap is None and self.reference is None and self.noise is None:
            raise ValueError(
                f"{HARM}. Give `cap: 90` (the percentile above which nothing is taken), `reference` (the "
                f"column of a held-out model's score, see loss_gap), or `noise: accepted`"
            )
        return self

    def parts(self) -> list[Part]:
        group: dict[str, Any] = {"group": self.group}
        size = {"score": "/eligible.weight", "score_is": "weight"}
        source = {"score": self.score, "reference": self.reference, "suspect": self.suspect}
        eligible = {**source, "capped": self.cap is not None, "smoothing": self.smoothing}
        budget = {name: getattr(self, name) for name in ("keep_rows", "keep_share", "keep_tokens", "tokens")}
        told = {"min_tau": self.min_tau, "beware": self.noise is not None}
        switched = self.min_tau is not None
        how = {**size, "score": "/switch.weight" if switched else "/eligible.weight"}
        switch = [Part("switch", "tau_switch", {"min_tau": self.min_tau, **group}, {"size": "size"})]
        limits = Budget(**budget, group=self.group)
        weigh = {"exponent": self.exponent, "why": True, "noise": self.noise}
        return [
            *self._cap(),
            Part("eligible", "seek_weight", eligible),
            Part("size", "effective_size", {**size, **group, **told}),
            *(switch if switched else []),
            *sampled(how, {"seed": self.seed}, limits, **weigh),
        ]

    def explain(self) -> str:
        what = self.score if self.reference is None else f"max({self.score} - {self.reference}, 0)"
        more = f" + {self.smoothing:g}" if self.smoothing else ""
        lines = [f"draws rows in proportion to {what}{more}; weights to the power {self.exponent:g}"]
        if self.cap is not None:
            lines.append(f"never above the percentile {self.cap:g} of {self.score}")
        if self.suspect is not None:
            lines.append(f"never where {self.suspect} is true")
        if self.noise is not None:
            lines.append(f"beware, noise is accepted: {HARM}")
        if self.min_tau is not None:
            lines.append(f"uniformly, if tau = sqrt(rows / ESS) is below {self.min_tau:g}")
        return "\n".join(lines)

    def _cap(self) -> list[Part]:
        """Whether a row lies below the percentile, as `/below.within`."""
        if self.cap is None:
            return []
        share = share_below(self.cap)
        below = {"by": "/order.priority", "group": self.group, "mark": True, "keep_share": share}
        return [Part("order", "bucket_key", {"loss": self.score}), Part("below", "cut", below)]
