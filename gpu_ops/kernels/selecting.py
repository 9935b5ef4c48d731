"""What selectors share that choose rows out of a whole pool: the budget, groups, and what a choice adds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from gpu_ops.kernels.pool import Float64s, Int64s, Pool, Wanted, gather
from operators.contract import DROP, Adds, Artifact, Columns, FitOp, Kind, Reads, Uses, drop_column
from operators.kernels.lookup import at, places
from operators.kernels.mixing import fill, tempered


@dataclass(frozen=True)
class Choice:
    """index: (m,) different places in the pool, in the order in which they were chosen. weight: (m,) how many
    rows each stands for, 1 where a method says nothing of it. figures: arrays that join the artifact, those
    of all groups one after the other. measured: (n,) of every row of the pool, NaN for those that a method
    has nothing to say of; a column for each of the operator's `measures`."""

    index: Int64s
    weight: Float64s | None = None
    figures: Mapping[str, np.ndarray] = field(default_factory=dict)
    measured: Mapping[str, Float64s] = field(default_factory=dict)


class SelectOp(FitOp):
    """The shape of a selector: a row meets all others of the pool, in one job.

    Adds `rank` (0 for the row that was chosen first) and `weight` (how many rows it stands for), null for
    rows that were not chosen, and `drop`: "not_selected", or "not_comparable" for rows without the vectors
    or finite numbers that the method needs. Rows that `labelled` says were chosen before stay, and the choice
    goes on from them; their rank is null. The budget counts new rows alone.
    """

    # Columns of float64 that `choose` measures for the rows of the pool, not only for the chosen ones.
    measures: ClassVar[tuple[str, ...]] = ()

    keep_rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows to choose; all, where there are fewer."""
    keep_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of the rows not chosen before that is chosen, rounded down."""
    labelled: str | None = None
    """The column that says which rows were chosen before: a boolean one by true, any other by not being
    null. They stay, and new rows are chosen to go with them."""
    group: str | None = None
    """A column of strings or integers, at most 4,096 different ones (such as clusters): each group is a pool
    of its own, with a part of the budget in proportion to its rows. It makes greedy methods faster by as many
    times as there are groups, and blind to neighbours in other groups."""
    mark: bool = False
    """Only adds `rank` and `weight`; no row is dropped."""
    seed: int | None = None
    """Seed of what is random; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.keep_rows is None) == (self.keep_share is None):
            raise ValueError(
                f"give one of keep_rows and keep_share, not {self.keep_rows} and {self.keep_share}: "
                "it says how many rows to choose"
            )
        return self

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """The columns that the method looks at; `labelled` and `group` are added."""

    @abstractmethod
    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        """At most k rows that were not taken, the best first. k is at least 1 and at most their number."""

    @property
    def reads(self) -> Reads:
        wanted = self._wanted()
        kinds: dict[str, pa.DataType | Kind] = dict.fromkeys(wanted.names, Kind.ANY)
        kinds |= dict.fromkeys(wanted.numbers, Kind.NUMBER) | dict.fromkeys(wanted.vectors, Kind.VECTOR)
        return {"uid": pa.int64(), "key": pa.uint64(), **kinds}

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        own = dict.fromkeys(self.measures, pa.float64())
        return {**({} if self.mark else {"drop": DROP}), "rank": pa.int64(), "weight": pa.float64(), **own}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact: `uid` (m,) of the chosen, ascending, with `rank` and `weight`; `apart` and `before`, uids
        of rows that cannot be compared, and that were chosen before; `pool`, the uids of all others, with
        what was measured of them, if anything is; and the method's own figures."""
        pool, apart, before = gather(rows, self._wanted())
        choice = self._by_group(pool, device)
        weight = np.ones(len(choice.index)) if choice.weight is None else choice.weight
        uid = pool.uid[choice.index]
        order = np.argsort(uid)
        chosen = {"uid": uid[order], "rank": order, "weight": weight[order]}
        measured: Artifact = {}
        if self.measures:
            nothing = np.full(len(pool), np.nan)
            measured = {name: choice.measured.get(name, nothing) for name in self.measures}
            measured = {"pool": pool.uid, **measured}
        return {**choice.figures, **chosen, **measured, "apart": apart, "before": before}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        uid = np.asarray(batch.column("uid"))
        place, chosen = places(uid, state["uid"])
        out: dict[str, pa.Array] = {}
        if not self.mark:
            apart, before = places(uid, state["apart"])[1], places(uid, state["before"])[1]
            reason = np.where(chosen | before, -1, np.where(apart, 1, 0))
            out["drop"] = drop_column(reason, ["not_selected", "not_comparable"])
        for name, kind in (("rank", pa.int64()), ("weight", pa.float64())):
            out[name] = pa.array(at(state[name], place), kind, mask=~chosen)
        if self.measures:
            place, there = places(uid, state["pool"])
            for name in self.measures:
                values = np.where(there, at(state[name], place), np.nan)
                out[name] = pa.array(values, pa.float64(), mask=np.isnan(values))
        return out

    def _wanted(self) -> Wanted:
        """What the method wants, and what all selectors do."""
        own = self.wanted
        labels = [*own.labels, *([self.group] if self.group else [])]
        return Wanted(own.vectors, own.numbers, labels, self.labelled, own.distributions)

    def _by_group(self, pool: Pool, device: str) -> Choice:
        """The whole budget, each group's part by itself; ranks go round the groups."""
        if self.group is None:
            k = self._budget(int((~pool.taken).sum()))
            return self.choose(pool, k, device) if k else Choice(np.zeros(0, np.int64))
        code = pool.labels[self.group].code
        sizes = np.bincount(code[~pool.taken], minlength=len(pool.labels[self.group].names))
        parts: list[tuple[Int64s, Choice]] = []
        for number, k in enumerate(fill(self._budget(int(sizes.sum())), sizes, tempered(sizes, 1))):
            rows = np.flatnonzero(code == number)
            if k:
                parts.append((rows, self.choose(pool.at(rows), int(k), device)))
        if not parts:
            return Choice(np.zeros(0, np.int64))
        index = np.concatenate([rows[choice.index] for rows, choice in parts])
        weights = [np.ones(len(c.index)) if c.weight is None else c.weight for _, c in parts]
        order = np.argsort(np.concatenate([np.arange(len(c.index)) for _, c in parts]), kind="stable")
        figures = {
            name: np.concatenate([choice.figures[name] for _, choice in parts])
            for name in parts[0][1].figures
        }
        measured = {name: np.full(len(pool), np.nan) for name in self.measures}
        for rows, choice in parts:
            for name in choice.measured:
                measured[name][rows] = choice.measured[name]
        return Choice(index[order], np.concatenate(weights)[order], figures, measured)

    def _budget(self, rows: int) -> int:
        """How many of so many rows are chosen; a share is the decimal as written: 0.29 of 100 is 29."""
        if self.keep_rows is not None:
            return min(self.keep_rows, rows)
        return int(Fraction(repr(self.keep_share)) * rows)


def filled_up(chosen: Int64s, pool: Pool, k: int) -> Int64s:
    """(k,) the chosen, then, where a method finds all others to be copies of them, the first of these."""
    free = ~pool.taken
    free[chosen] = False
    return np.concatenate([chosen, np.flatnonzero(free)[: k - len(chosen)]])
