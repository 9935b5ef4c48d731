"""What each domain has, and what it gets of a budget."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses
from operators.kernels.grouping import (
    MAX_GROUPS,
    MAX_NAME_BYTES,
    GroupKey,
    added,
    group_codes,
    show_name,
)
from operators.kernels.mixing import mixed

_SHOWN = 30  # domains that the end of a run shows


class MixTotals(FoldOp, Telling):
    """Counts rows and weight by group, and shares a budget among the groups: what `domain_mix` tells.

    A part of `domain_mix`; `cut` computes the same budgets from the same fields. Artifact, for G groups:
    `names` (G,), `rows`, `weight` (that of rows is 1) and `budget` (G,) int64.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"group": "domain", "keep_share": 0.5},)

    group: str
    """The column of the groups."""
    weight: str | None = None
    """The integer column that uses up the budget; rows, when it is not given."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """As in `domain_mix`."""
    shares: dict[GroupKey, float] | None = None
    """As in `domain_mix`."""
    keep_rows: int | None = None
    """The budget in rows."""
    keep_share: float | None = None
    """The budget as a share of the weight."""
    keep_weight: int | None = None
    """The budget in weight."""

    @property
    def reads(self) -> Reads:
        return {self.group: Kind.LABEL, **({self.weight: Kind.INTEGER} if self.weight else {})}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return MAX_GROUPS * (16 + MAX_NAME_BYTES)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        names, codes = group_codes(batch.column(self.group), batch.num_rows)
        rows, weight = np.bincount(codes, minlength=len(names)), np.zeros(len(names), np.int64)
        if self.weight:
            np.add.at(weight, codes, np.asarray(batch.column(self.weight).fill_null(0)).astype(np.int64))
        return {"names": names, "rows": rows, "weight": weight if self.weight else rows.copy()}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return added(a, b)

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        weight = state["weight"]
        total = sum(int(one) for one in weight)
        amount = self.keep_rows if self.keep_rows is not None else self.keep_weight
        budget = int(Fraction(repr(self.keep_share)) * total) if amount is None else amount
        parts = mixed(budget, weight, state["names"], self.temperature, self.shares, self.group)
        return {**state, "budget": parts}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        weight, budget = state["weight"], state["budget"]
        unit = self.weight or "rows"
        lines = [f"{self.group}: {unit} there are (share of all) -> budget (share of the mix)"]
        for i in np.argsort(-weight, kind="stable")[:_SHOWN]:
            share, wanted = weight[i] / max(weight.sum(), 1), budget[i] / max(budget.sum(), 1)
            whole = ", whole" if budget[i] == weight[i] else ""
            lines.append(
                f"{show_name(state['names'][i])}: {weight[i]:,} ({share:.1%}) -> {budget[i]:,} "
                f"({wanted:.1%}{whole})"
            )
        if len(weight) > _SHOWN:
            lines.append(f"and {len(weight) - _SHOWN} smaller ones")
        return "\n".join(lines)
