"""Importance sampling: a weighted sample without replacement, by any score."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.contract import Part, Recipe

Count = Annotated[int, Field(ge=0)]
_BUDGETS = ("keep_rows", "keep_share", "keep_tokens")


class Importance(Recipe):
    """Keeps rows in proportion to a score, up to a budget of rows or tokens, never one row twice.

    Gumbel top-k: each row's log weight gets Gumbel noise from (seed, key), and the largest stay
    (`importance_key`, `cut`), so the sample is that of drawing one row after the other with
    probability proportional to exp(log weight / temperature). The same seed with a larger budget
    keeps the same rows and more. A row without a finite score (null, nan, inf, a weight of 0) is
    never kept and has the reason `no_score`; the others that go have `not_sampled`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "score", "keep_share": 0.4, "seed": 1},
        {"score": "words", "score_is": "weight", "keep_tokens": 200, "tokens": "words", "seed": 1},
        {"score": "score", "score_is": "rank", "descending": False, "keep_rows": 9},
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

    keep_rows: Count | dict[str | int, Count] | None = None
    """How many rows stay; with `group` in each group, or by the group's name ('*' for all others)."""

    keep_share: float | None = Field(None, ge=0, le=1)
    """The share of the rows that stays, rounded down; with `group` of each group."""

    keep_tokens: Count | dict[str | int, Count] | None = None
    """How many tokens stay, at most; with `group` in each group, or by the group's name."""

    tokens: str = "tokens"
    """The integer column that counts a row's tokens, used with `keep_tokens`; `bytes` is there always."""

    group: str | None = None
    """A column of strings or integers: each of its values has a budget of its own."""

    missing: Literal["drop", "error"] = "drop"
    """Rows with null, nan or inf as score are dropped, or are an error that names the first one."""

    seed: int | None = None
    """Seed of the noise; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_budget(self) -> Importance:
        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"importance takes one of {', '.join(_BUDGETS)}, got {', '.join(given) or 'none'}"
            )
        return self

    def parts(self) -> list[Part]:
        names = ("score", "score_is", "temperature", "descending", "missing", "seed")
        key = {name: getattr(self, name) for name in names}
        weighted = self.keep_tokens is not None
        budget = {
            "keep_rows": self.keep_rows,
            "keep_share": self.keep_share,
            "keep_weight": self.keep_tokens,
            "weight": self.tokens if weighted else None,
        }
        fields = {"by": "/key.priority", "group": self.group, "reason": "not_sampled", **budget}
        return [Part("key", "importance_key", key), Part("cut", "cut", fields)]
