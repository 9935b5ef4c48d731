"""Random undersampling, by class or of everything."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.contract import Part, Recipe
from operators.kernels.grouping import GroupKey

Count = Annotated[int, Field(ge=0)]


class Undersample(Recipe):
    """Keeps a random part of the rows, so that large groups do not drown small ones.

    With `by`, the rows of each of its values are thinned: to a cap, to a ratio, or to the size of
    the smallest group (imbalanced-learn's RandomUnderSampler: `to: smallest` is its 'not minority',
    `ratio` its float for two classes). Without `by`, all rows are one group. Which rows stay depends
    on (seed, key) alone. Nulls are a group of their own. Dropped rows carry the reason
    `undersampled`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"by": "label", "to": "smallest", "seed": 1},
        {"by": "domain", "cap": 3, "seed": 1},
        {"keep_share": 0.25, "seed": 1},
    )

    by: str | None = None
    """The column whose values are the groups; strings or integers, at most 4,096 different ones."""

    to: Literal["smallest"] | None = None
    """`smallest`: every group keeps as many rows as the smallest one has."""

    ratio: float | None = Field(None, gt=0, le=1)
    """Rows of the smallest group divided by the most rows that another keeps: 0.5 keeps twice as many."""

    cap: Count | dict[GroupKey, Count] | None = None
    """The most rows that each group keeps, or a budget for each by name ('*' for all others)."""

    keep_rows: Count | None = None
    """How many rows stay in all, without `by`."""

    keep_share: float | None = Field(None, ge=0, le=1)
    """The share of the rows that stays, of each group where `by` is given, rounded down."""

    seed: int | None = None
    """Seed of the random choice; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_rule(self) -> Undersample:
        rules = ("to", "ratio", "cap", "keep_rows", "keep_share")
        given = [name for name in rules if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"undersample takes one of {', '.join(rules)}, got {', '.join(given) or 'none'}")
        if self.by is None and given[0] in ("to", "ratio", "cap"):
            raise ValueError(f"undersample: {given[0]} needs `by`, the column of the groups")
        if self.by is not None and given[0] == "keep_rows":
            raise ValueError("undersample: keep_rows counts all rows; with `by` give cap, for each group")
        return self

    def parts(self) -> list[Part]:
        budget = {
            "keep_rows": self.cap if self.cap is not None else self.keep_rows,
            "keep_share": self.keep_share,
            "keep_ratio": 1.0 if self.to else self.ratio,
        }
        fields = {"by": "/key.priority", "group": self.by, "reason": "undersampled"}
        return [Part("key", "random_key", {"seed": self.seed}), Part("cut", "cut", fields | budget)]
