"""The budgeted cut: the rows that come first, as many as a budget allows."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import (
    DROP,
    Adds,
    Artifact,
    Columns,
    Kind,
    LoopOp,
    Part,
    Reads,
    Uses,
    drop_column,
)
from operators.cut_histogram import sort_keys
from operators.kernels.grouping import GroupKey, group_codes, places_of

Count = Annotated[int, Field(ge=0)]


def share_below(percentile: float) -> float:
    """The `keep_share` that ends at a percentile, as the decimal that was written: 62.5 is 0.625."""
    return float(Decimal(repr(percentile)) / 100)


class Cut(LoopOp):
    """Keeps the rows with the largest `by`, until a budget of rows or of weight is used up.

    Rows stand in descending order of `by`, equal ones in ascending order of uid. A row stays if and
    only if its weight and that of all rows before it is at most the budget, so the walk ends at the
    first row that does not fit. That equals a full sort exactly, for any cut of the data: a radix
    select over histograms (`cut_histogram`), at most 8 rounds of 16 bits (16 of 8 bits with groups),
    two or three for random keys. A group's rows go with the given `reason`; a row without a key is
    never kept, whatever is left of the budget, and goes with the reason `no_score`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"by": "key", "keep_share": 0.3},
        {"by": "key", "keep_rows": 5, "group": "domain"},
        {"by": "key", "keep_weight": 300, "weight": "words"},
        {"by": "key", "keep_ratio": 0.5, "group": "label"},
        {"by": "key", "keep_share": 0.3, "mark": True},
    )

    by: str
    """The uint64 column to sort by, the largest first."""

    keep_rows: Count | dict[GroupKey, Count] | None = None
    """How many rows stay: in all, in each group, or by the group's name ('*' for all others)."""

    keep_share: float | None = Field(None, ge=0, le=1)
    """The share of the rows (of the weight, where one is given) that stays, rounded down."""

    keep_weight: Count | dict[GroupKey, Count] | None = None
    """How much weight stays: in all, in each group, or by the group's name ('*' for all others)."""

    keep_ratio: float | None = Field(None, gt=0, le=1)
    """The size of the smallest group divided by the most rows that another may keep: 1 for equal groups."""

    weight: str | None = None
    """The integer column, not negative and without nulls, that uses up `keep_weight` or `keep_share`."""

    group: str | None = None
    """A column of strings or integers: each of its at most 4,096 values has a budget of its own."""

    temperature: float | None = Field(None, gt=0)
    """With a group: the budget is that of all groups together, and each gets a part of it in proportion to
    its size to the power of 1 / temperature, what some cannot use going to the others."""

    shares: dict[GroupKey, Annotated[float, Field(ge=0)]] | None = None
    """As `temperature`, but the parts are in proportion to these numbers by group name ('*': others)."""

    reason: str = "budget"
    """Why the rows beyond the budget go."""

    missing: Literal["drop", "count", "error"] = "drop"
    """Rows whose `by` is null are dropped (`count`: and count for `keep_share` with `mark` too), or are an
    error that names the first one."""

    mark: bool = False
    """Instead of dropping rows, add `within`: whether a row would stay, null for one without a key, which
    then does not count for `keep_share` either unless `missing: count`."""

    @model_validator(mode="after")
    def _one_budget(self) -> Cut:
        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"cut takes one of {', '.join(_BUDGETS)}, got {', '.join(given) or 'none'}")
        if (given[0] == "keep_weight") != (self.weight is not None) and given[0] != "keep_share":
            raise ValueError(f"cut: {given[0]} and weight={self.weight!r} do not go together")
        if self.group is None and (given[0] == "keep_ratio" or isinstance(self._amount(), dict)):
            raise ValueError(f"cut: {given[0]}={self._amount()} needs a group column")
        self._check_mix(given[0])
        return self

    @property
    def reads(self) -> Reads:
        extra = {self.group: Kind.LABEL} if self.group else {}
        return {self.by: pa.uint64(), "uid": pa.int64(), **extra}

    @property
    def adds(self) -> Adds:
        return {"within": pa.bool_()} if self.mark else {"drop": DROP}

    def step(self, round: int) -> list[Part]:
        rule = (
            "share" if self.keep_share is not None else "ratio" if self.keep_ratio is not None else "amount"
        )
        fields = {"by": self.by, "rule": rule, "amount": self._amount(), "weight": self.weight}
        fields |= {"group": self.group, "round": round}
        skipped = "skip" if self.mark and self.missing == "drop" else "drop"
        fields |= {"missing": "error" if self.missing == "error" else skipped}
        uses = {"last": "last.histogram"} if round else {}
        return [Part("histogram", "cut_histogram", fields | self._mix(), uses)]

    def done(self, state: Artifact, round: int) -> bool:
        return bool(state["settled"].all())

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        state = uses["last"]
        names, codes = group_codes(batch.column(self.group) if self.group else None, batch.num_rows)
        group = places_of(names, state["names"])[codes]
        valid, hi, lo = sort_keys(batch, self.by)
        hi, edge = hi & state["hi_mask"][group], state["hi"][group]
        above = (lo & state["lo_mask"][group]) > state["lo"][group]
        kept = state["whole"][group] | (hi > edge) | ((hi == edge) & above)
        if self.mark:
            return {"within": pa.array(kept, pa.bool_(), mask=~valid)}
        reasons = np.where(valid, np.where(kept, -1, 0), 1)
        return {"drop": drop_column(reasons, [self.reason, "no_score"])}

    def _check_mix(self, budget: str) -> None:
        if not self._mix():
            return
        if self.temperature is not None and self.shares is not None:
            raise ValueError(f"cut: temperature={self.temperature} and shares={self.shares}, give one")
        if self.group is None or budget == "keep_ratio" or isinstance(self._amount(), dict):
            raise ValueError(
                "cut: temperature and shares need a group column, and one budget for all groups together"
            )

    def _mix(self) -> dict[str, Any]:
        """The fields that share one budget among groups, where they are given."""
        mix = {"temperature": self.temperature, "shares": self.shares}
        return {name: value for name, value in mix.items() if value is not None}

    def _amount(self) -> int | float | dict[str | int, int]:
        return next(value for name in _BUDGETS if (value := getattr(self, name)) is not None)


_BUDGETS = ("keep_rows", "keep_share", "keep_weight", "keep_ratio")
