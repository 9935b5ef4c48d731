"""Importance sampling: a weighted sample without replacement, by any score."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.contract import Explained, Part, Recipe
from operators.kernels.grouping import GroupKey
from operators.kernels.noise import HARM, seeks_noise
from operators.kernels.sampling import Budget, Count, one_budget, sampled


class Importance(Recipe, Explained):
    """Keeps rows in proportion to a score, up to a budget of rows or tokens, never one row twice.

    Gumbel top-k: each row's log weight gets Gumbel noise from (seed, key), and the largest stay
    (`importance_key`, `cut`), so the sample is that of drawing one row after the other with
    probability proportional to exp(log weight / temperature). The same seed with a larger budget
    keeps the same rows and more. A row without a finite score (null, nan, inf, a weight of 0) is
    never kept and has the reason `no_score`; the others that go have `not_sampled`. `weight` says how many
    rows a kept one stands for (`importance_weight`), so that weighted sums are unbiased for all rows with a
    score, but for rows with more tokens than a whole token budget. The run tells the effective sample size
    (`effective_size`): whether chance or the top of the order decides.

    The column is any one: log weights of `dsir`, gaps of `loss_gap` to a reference (RHO-LOSS, ReLo).
    Losses and gradients seek noise: `loss_importance` and `gradient_importance` guard against it.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "score", "keep_share": 0.4, "seed": 1},
        {"score": "words", "score_is": "weight", "keep_tokens": 200, "tokens": "words", "seed": 1},
        {"score": "score", "score_is": "rank", "descending": False, "keep_rows": 9},
        {"score": "loss", "keep_rows": 3, "group": "domain", "noise": "accepted", "seed": 1},
    )

    score: str
    """The numeric column to sample by, such as `dsir`'s log_weight or `lm_loss`'s loss."""

    score_is: Literal["log_weight", "weight", "rank"] = "log_weight"
    """A log weight (nats), a weight (0 is never drawn, a negative one an error), or a rank: best first."""

    temperature: float = Field(1.0, ge=0)
    """The unit of the noise, in which log weights are counted: 0 takes the best scores; values above the
    differences of the scores sample almost uniformly. Unused by `rank`."""

    descending: bool = True
    """Whether large scores are wanted; otherwise small ones (a weight then counts as its inverse)."""

    keep_rows: Count | dict[GroupKey, Count] | None = None
    """How many rows stay; with `group` in each group, or by the group's name ('*' for all others)."""

    keep_share: float | None = Field(None, ge=0, le=1)
    """The share of the rows that stays, rounded down; with `group` of each group."""

    keep_tokens: Count | dict[GroupKey, Count] | None = None
    """How many tokens stay, at most; with `group` in each group, or by the group's name."""

    tokens: str = "tokens"
    """The integer column that counts a row's tokens, used with `keep_tokens`; `bytes` is there always."""

    group: str | None = None
    """A column of strings or integers: each of its values has a budget of its own."""

    missing: Literal["drop", "error"] = "drop"
    """Rows with null, nan or inf as score are dropped, or are an error that names the first one."""

    seed: int | None = None
    """Seed of the noise; the plan derives one from the run's seed and the node's name."""

    noise: Literal["accepted"] | None = None
    """`accepted`: take the rows of highest loss or gradient, because the data has no wrong labels."""

    @model_validator(mode="after")
    def _sound(self) -> Importance:
        one_budget(self)
        if self._seeks() and not self._drawn():
            raise ValueError(
                f"score = {self.score}, the highest first: {HARM}. Use loss_importance with `cap` or "
                f"`reference`, or say `noise: accepted`"
            )
        return self

    def parts(self) -> list[Part]:
        names = ("score", "score_is", "temperature", "descending")
        how = {name: getattr(self, name) for name in names}
        budget = {name: getattr(self, name) for name in ("keep_rows", "keep_share", "keep_tokens", "tokens")}
        told = {"group": self.group, "beware": self._seeks()}
        size = [Part("size", "effective_size", {**how, **told})] if self._drawn() else []
        key = {"missing": self.missing, "seed": self.seed}
        return [*size, *sampled(how, key, Budget(**budget, group=self.group), noise=self.noise)]

    def explain(self) -> str:
        order = "highest" if self.descending else "lowest"
        if not self._drawn():
            return f"no chance: the rows of {order} {self.score}"
        what = f"exp({self.score} / {self.temperature:g})"
        if self.score_is == "weight":
            what = self.score if self.temperature == 1 else f"{self.score}^(1 / {self.temperature:g})"
        where = "in proportion" if self.descending else "in inverse proportion"
        lines = [f"draws rows {where} to {what}; the run tells the effective sample size"]
        return "\n".join([*lines, *([f"beware: {HARM}"] if self._seeks() else [])])

    def _drawn(self) -> bool:
        """Whether there is any chance in it."""
        return self.score_is != "rank" and self.temperature > 0

    def _seeks(self) -> bool:
        """Whether it goes for noise without anybody having said so."""
        return self.descending and self.noise is None and seeks_noise(self.score)
