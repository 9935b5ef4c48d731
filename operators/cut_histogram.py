"""One round of the budgeted cut: a histogram over the next bits of the sort key."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.grouping import (
    MAX_GROUPS,
    MAX_NAME_BYTES,
    GroupKey,
    Names,
    added,
    by_name,
    group_codes,
    places_of,
    show_name,
    spread,
)
from operators.kernels.mixing import mixed

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

# What a boundary is: everything of the group whose masked key lies above (hi, lo) is kept.
_BOUNDARY = ("hi", "hi_mask", "lo", "lo_mask", "left", "budget", "whole", "settled")


class CutHistogram(FoldOp):
    """Sums rows and weights by group and by the next 16 bits of the key (8 bits with groups), and
    finds in which bin each group's budget ends. `cut` runs it round after round.

    The sort key has 128 bits: the uint64 column `by` (`hi`), then the inverted uid (`lo`), so no two
    rows are equal. A round looks only at rows that share the boundary's bits so far. A group is
    settled when all of its rows fit, or nothing of the boundary's last bin does.

    Artifact, for G groups: `names` (G,), the boundary `hi`, `hi_mask`, `lo`, `lo_mask` (uint64),
    `left` (what is left of the budget below the boundary), `budget`, `whole` (all rows are kept),
    `settled`; and `rows`, `weight`, all that the group has.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"by": "key", "rule": "share", "amount": 0.5},
        {"by": "key", "rule": "amount", "amount": 100, "weight": "words", "group": "domain"},
    )

    by: str
    """The uint64 column to sort by, the largest first; a null has no place in the order."""

    rule: Literal["amount", "share", "ratio"]
    """What `amount` is: the budget itself, a share of what there is, or a divisor of the smallest group."""

    amount: int | float | dict[GroupKey, int]
    """The budget for each group, the share, or the ratio of the smallest group to the others' budget."""

    weight: str | None = None
    """The integer column that uses up the budget; rows, when it is not given."""

    group: str | None = None
    """The column whose every value has a budget of its own."""

    temperature: float | None = Field(None, gt=0)
    """The amount is that of all groups, who share it in proportion to size^(1 / temperature)."""

    shares: dict[GroupKey, float] | None = None
    """The amount is that of all groups, who share it in proportion to these numbers, by name."""

    missing: Literal["drop", "error", "skip"] = "drop"
    """Rows whose `by` is null count as rows there are, are an error, or do not count."""

    round: int = Field(0, ge=0, le=16)
    """Which bits this round looks at, from the top; 16 is never run, only asked for when all others were."""

    @property
    def reads(self) -> Reads:
        extra = {name: kind for name, kind in ((self.weight, Kind.INTEGER), (self.group, Kind.LABEL)) if name}
        return {self.by: pa.uint64(), "uid": pa.int64(), **extra}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def bits(self) -> int:
        """How many bits of the key a round settles: 65,536 bins, or 256 for each group."""
        return 16 if self.group is None else 8

    @property
    def state_bytes(self) -> int:
        groups = 1 if self.group is None else MAX_GROUPS
        return groups * (16 * (1 << self.bits) + 16 + MAX_NAME_BYTES)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        rows, bins = batch.num_rows, 1 << self.bits
        names, codes = group_codes(batch.column(self.group) if self.group else None, rows)
        check_weights(self, batch)
        weight = weights_of(self, batch)
        valid, hi, lo = sort_keys(batch, self.by)
        if self.missing == "error" and not valid.all():
            raise ValueError(f"cut: {self.by} is null at uid {_uid(batch, ~valid)}; drop such rows before")
        state = _zeros(names, bins)
        if self.round == 0:
            counted = valid | (self.missing != "skip")
            state["all_rows"] += np.bincount(codes[counted], minlength=len(names))
            np.add.at(state["all_weight"], codes[counted], weight[counted])
        else:
            valid &= _on_boundary(uses["last"], names, codes, hi, lo)
        cell = codes[valid] * bins + self._digit(hi[valid], lo[valid])
        state["rows"] += np.bincount(cell, minlength=len(names) * bins).reshape(-1, bins)
        np.add.at(state["weight"].reshape(-1), cell, weight[valid])
        return state

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        merged = added(a, b)
        if (merged["all_weight"] < 0).any():
            raise ValueError(f"cut: the sum of {self.weight} is above 2**63; use a coarser unit")
        return merged

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        if self.round == 0:
            return self._narrow(state, self._opened(state))
        return self._narrow(spread(state, uses["last"]["names"]), uses["last"])

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def _digit(self, hi: UInt64s, lo: UInt64s) -> Int64s:
        """The bits of this round, (n,)."""
        half, shift = self._shift()
        digits = (hi if half == 0 else lo) >> np.uint64(shift)
        return (digits & np.uint64((1 << self.bits) - 1)).astype(np.int64)

    def _shift(self) -> tuple[int, int]:
        """Which half of the key, and how many bits of it lie below this round's."""
        half, step = divmod(self.round * self.bits, 64)
        return half, 64 - self.bits - step

    def _opened(self, state: Artifact) -> Artifact:
        """The boundary before the first round: nothing known, the whole budget left."""
        names = state["names"]
        zeros = {key: np.zeros(len(names), np.uint64) for key in ("hi", "hi_mask", "lo", "lo_mask")}
        flags = {key: np.zeros(len(names), np.bool_) for key in ("whole", "settled")}
        budget = self._budgets(state)
        totals = {"rows": state["all_rows"], "weight": state["all_weight"]}
        return {"names": names, "left": budget, "budget": budget, **totals, **zeros, **flags}

    def _budgets(self, state: Artifact) -> Int64s:
        """The budget of every group, (G,)."""
        amounts = state["all_rows"] if self.weight is None else state["all_weight"]
        if isinstance(self.amount, dict):
            return self._named_budgets(state["names"], self.amount)
        if self.temperature is not None or self.shares is not None:
            exact = Fraction(repr(self.amount)) * (sum(amounts.tolist()) if self.rule == "share" else 1)
            how = (self.temperature, self.shares, self.group or "")
            return mixed(int(exact), amounts, state["names"], *how)
        if self.rule == "amount":
            return np.full(len(amounts), self.amount, np.int64)
        exact = Fraction(repr(self.amount))  # the decimal as written: 0.29 of 100 is 29
        if self.rule == "share":
            return np.array([int(exact * int(n)) for n in amounts], np.int64)
        smallest = int(amounts.min()) if len(amounts) else 0
        return np.full(len(amounts), int(smallest / exact), np.int64)

    def _named_budgets(self, names: Names, wanted: dict[str | int, int]) -> Int64s:
        budgets, lost = by_name(names, wanted)
        if lost:
            raise ValueError(
                f"cut: {len(lost)} values of {self.group} have no budget, the first is {show_name(lost[0])}; "
                f"add them, or '*' for all others"
            )
        return np.array(budgets, np.int64)

    def _narrow(self, state: Artifact, last: Artifact) -> Artifact:
        """The boundary with this round's bits: the first bin from the top that does not fit."""
        now = {key: last[key].copy() for key in _BOUNDARY}
        groups, bins = np.arange(len(last["names"])), 1 << self.bits
        down = np.cumsum(state["weight"][:, ::-1], axis=1)
        over = down > last["left"][:, None]
        whole = ~over.any(axis=1)
        place = bins - 1 - np.argmax(over, axis=1)
        above = down[groups, bins - 1 - place] - state["weight"][groups, place]
        open_ = ~last["settled"]
        now["whole"] |= open_ & whole
        cut = open_ & ~whole
        now["left"][cut] -= above[cut]
        half, shift = self._shift()
        value, mask = (("hi", "hi_mask"), ("lo", "lo_mask"))[half]
        now[value][cut] |= place[cut].astype(np.uint64) << np.uint64(shift)
        now[mask][cut] |= np.uint64(((1 << self.bits) - 1) << shift)
        # A lone row did not fit; without weights nothing fits once the budget is used up.
        alone = state["rows"][groups, place] == 1
        used_up = (now["left"] == 0) & (self.weight is None)
        now["settled"] |= whole | alone | used_up
        return {"names": last["names"], "rows": last["rows"], "weight": last["weight"], **now}


def sort_keys(batch: pa.RecordBatch, by: str) -> tuple[Bools, UInt64s, UInt64s]:
    """Which rows have a key, and both halves of it: `by`, then the inverted uid."""
    column = batch.column(by)
    valid = np.ones(len(column), np.bool_)
    if column.null_count:
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.fill_null(0)
    uid = batch.column("uid").to_numpy(zero_copy_only=False)
    return valid.copy(), column.to_numpy(zero_copy_only=False), ~uid.astype(np.uint64)


def weights_of(op: CutHistogram, batch: pa.RecordBatch) -> Int64s:
    """What each row takes of the budget, (n,)."""
    if op.weight is None:
        return np.ones(batch.num_rows, np.int64)
    return batch.column(op.weight).to_numpy(zero_copy_only=False).astype(np.int64)


def check_weights(op: CutHistogram, batch: pa.RecordBatch) -> None:
    """ValueError for a weight that is null, negative, or so large that sums overflow."""
    if op.weight is None or batch.num_rows == 0:
        return
    column = batch.column(op.weight)
    if column.null_count:
        gone = column.is_null().to_numpy(zero_copy_only=False)
        raise ValueError(f"cut: {op.weight} is null at uid {_uid(batch, gone)}; give every row a weight")
    values = column.to_numpy(zero_copy_only=False)
    if values.min() < 0:
        raise ValueError(
            f"cut: {op.weight} is {values.min()} at uid {_uid(batch, values < 0)}; it must be >= 0"
        )
    if float(values.max()) * len(values) >= 2.0**62:
        raise ValueError(
            f"cut: {op.weight} is {values.max()} at uid {_uid(batch, values == values.max())}; sums would "
            f"overflow 64 bits, use a coarser unit"
        )


def _uid(batch: pa.RecordBatch, which: Bools) -> int:
    """The first of these rows, by uid."""
    return int(batch.column("uid").to_numpy(zero_copy_only=False)[which].min())


def _zeros(names: Names, bins: int) -> dict[str, Any]:
    groups = len(names)
    totals = {key: np.zeros(groups, np.int64) for key in ("all_rows", "all_weight")}
    return {"names": names, **totals, **{k: np.zeros((groups, bins), np.int64) for k in ("rows", "weight")}}


def _on_boundary(last: Artifact, names: Names, codes: Int64s, hi: UInt64s, lo: UInt64s) -> Bools:
    """The rows whose bits so far are those of their group's boundary, where it is not yet settled."""
    group = places_of(names, last["names"])[codes]
    open_ = ~last["settled"][group]
    same_hi = hi & last["hi_mask"][group] == last["hi"][group]
    return open_ & same_hi & (lo & last["lo_mask"][group] == last["lo"][group])
