"""What operators share that thin out classes: rows with their labels, who may lose rows, and what is added.

Legend: n rows with a label and a vector, K classes, d numbers in a vector.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from gpu_ops.kernels.pool import Bools, Float32s, Int64s, Wanted, gather
from operators.contract import (
    DROP,
    Adds,
    Artifact,
    Columns,
    FitOp,
    Kind,
    Reads,
    Telling,
    Uses,
    drop_column,
)
from operators.kernels.counter import UInt64s, uniform
from operators.kernels.grouping import GroupKey, Names, by_name, group_name, show_name
from operators.kernels.lookup import at, places

Count = Annotated[int, Field(ge=0)]
_SHOWN = 20  # classes that the end of a run shows


@dataclass(frozen=True)
class Rows:
    """uid, key: (n,), by uid. x: (n, d) float32, an array or memory map. label: (n,) places in `names` (K,),
    the labels in ascending order of their bytes. part: (n,) the number of the group that a row is in."""

    uid: Int64s
    key: UInt64s
    x: Float32s
    label: Int64s
    names: Names
    part: Int64s

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def sizes(self) -> Int64s:
        """(K,) rows of each class."""
        return np.bincount(self.label, minlength=len(self.names))

    @property
    def minority(self) -> int:
        """The smallest class; of equals the first."""
        return int(np.argmin(self.sizes))

    def of(self, label: int) -> Int64s:
        """The rows of a class, ascending."""
        return np.flatnonzero(self.label == label)

    def parts(self) -> list[Int64s]:
        """The rows of each group, ascending."""
        return [np.flatnonzero(self.part == number) for number in np.unique(self.part)]

    def shuffled(self, seed: int) -> Int64s:
        """(n,) the rows in a random order that depends on (seed, key); of equal keys by uid."""
        return np.lexsort((self.uid, uniform(seed, self.key)))


@dataclass(frozen=True)
class Verdict:
    """reason: (n,) -1 stays, i goes because of the operator's reasons[i]. evidence: the added columns, (n,)
    each; integers below 0 and NaN stand for null. figures: arrays that join the artifact."""

    reason: Int64s
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)
    figures: Mapping[str, np.ndarray] = field(default_factory=dict)


class ThinOp(FitOp, Telling):
    """The shape of an operator that looks at all labelled rows and says which ones their classes can spare.

    Adds `drop` (or `kept`, with `mark`) and evidence. Memory: 4 bytes for each number of the vectors and
    some 60 bytes a row. The end of a run shows the rows of each class, before and after.
    """

    reasons: ClassVar[tuple[str, ...]] = ()
    # Whether rows go, as "not_comparable", that have no label or no vector; they stay otherwise.
    needs_vectors: ClassVar[bool] = False

    embedding: str = "embedding"
    """The column of vectors: lists of floats, all of one length (`vector` makes them of numeric columns)."""
    label: str = "label"
    """The column of the classes: strings or integers."""
    mark: bool = False
    """Instead of dropping rows, add `kept`: whether a row would stay, null where it cannot be judged."""

    @property
    @abstractmethod
    def evidence(self) -> Adds:
        """The columns of `Verdict.evidence`, with their types."""

    @abstractmethod
    def judge(self, rows: Rows, device: str) -> Verdict:
        """What of the rows, at least one, goes."""

    @property
    def partition(self) -> str | None:
        """A column of groups, of which each is looked at by itself."""
        return None

    @property
    def reads(self) -> Reads:
        part: Reads = {self.partition: Kind.LABEL} if self.partition else {}
        return {
            "uid": pa.int64(),
            "key": pa.uint64(),
            self.embedding: Kind.VECTOR,
            self.label: Kind.LABEL,
            **part,
        }

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {**({"kept": pa.bool_()} if self.mark else {"drop": DROP}), **self.evidence}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact: `uid` (n,) of the rows that took part, `reason` and the evidence (n,); `apart`, how many
        took no part; `classes` (K,) with `before` and `after` (K,), their rows; the method's own figures."""
        data, apart = self._rows(rows)
        verdict = self.judge(data, device) if len(data) else self._nothing()
        after = np.bincount(data.label[verdict.reason < 0], minlength=len(data.names))
        told = {"classes": data.names, "before": data.sizes, "after": after, "apart": np.array([apart])}
        return {**verdict.figures, **verdict.evidence, "uid": data.uid, "reason": verdict.reason, **told}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        place, have = places(np.asarray(batch.column("uid")), state["uid"])
        other = len(self.reasons) if self.needs_vectors else -1
        reason = np.where(have, at(state["reason"], place), other)
        out: dict[str, pa.Array] = {}
        if self.mark:
            out["kept"] = pa.array(reason < 0, pa.bool_(), mask=~have)
        else:
            out["drop"] = drop_column(reason, [*self.reasons, "not_comparable"])
        return {**out, **evidence_columns(place, have, state, self.evidence)}

    def tell(self, state: Artifact) -> str:
        order = np.argsort(state["after"] - state["before"], kind="stable")
        lines = [
            f"{show_name(state['classes'][i])}: {state['before'][i]:,} -> {state['after'][i]:,} rows"
            for i in order[:_SHOWN]
        ]
        if len(order) > _SHOWN:
            lines.append(f"and {len(order) - _SHOWN} more classes, which lost fewer")
        if apart := int(state["apart"][0]):
            lines.append(f"{apart:,} rows without a label or a vector of numbers below 1e18 took no part")
        return "\n".join(lines)

    def _rows(self, batches: Iterator[pa.RecordBatch]) -> tuple[Rows, int]:
        """The rows that take part, and how many do not."""
        labels = [self.label, *([self.partition] if self.partition else [])]
        pool, apart, _ = gather(batches, Wanted(vectors=[self.embedding], labels=labels))
        lost, found = len(apart), pool.labels[self.label]
        null = found.names[found.code] == b"" if len(pool) else np.zeros(0, bool)
        if null.any():
            lost, pool = lost + int(null.sum()), pool.at(np.flatnonzero(~null))
            found = pool.labels[self.label]
        present, code = np.unique(found.code, return_inverse=True)
        part = pool.labels[self.partition].code if self.partition else np.zeros(len(pool), np.int64)
        names = found.names[present] if len(present) else np.zeros(0, "S1")
        x = np.asarray(pool.vectors[self.embedding], np.float32)  # all in memory
        return Rows(pool.uid, pool.key, x, code.reshape(-1).astype(np.int64), names, part), lost

    def _nothing(self) -> Verdict:
        evidence = {
            name: np.zeros(0, np.float64 if pa.types.is_floating(kind) else np.int64)
            for name, kind in self.evidence.items()
        }
        return Verdict(np.zeros(0, np.int64), evidence)


class CleanOp(ThinOp):
    """Drops rows by a rule about their neighbours; how many go, the data decide. Rows with a null label, or
    without a vector of numbers below 1e18, take no part and stay; their columns are null."""

    classes: Literal["not_minority", "majority", "all"] | tuple[GroupKey, ...] = "not_minority"
    """Which classes may lose rows: all but the smallest, the largest alone, all, or those listed."""

    def targets(self, rows: Rows) -> Bools:
        """(K,) which classes may lose rows."""
        every = np.arange(len(rows.names))
        if self.classes == "all":
            return np.ones(len(every), bool)
        if self.classes == "majority":
            return np.asarray(every == np.argmax(rows.sizes))
        if self.classes == "not_minority":
            return np.asarray(every != rows.minority)
        return np.isin(rows.names, np.array([group_name(one) for one in self.classes]))

    def tell(self, state: Artifact) -> str:
        told = super().tell(state)
        if isinstance(self.classes, str):
            return told
        there = set(state["classes"].tolist())
        lost = [show_name(group_name(one)) for one in self.classes if group_name(one) not in there]
        return f"no row is of the class {', '.join(lost)}\n{told}".rstrip() if lost else told


class BudgetOp(ThinOp):
    """Thins every class but the smallest one to a budget, as `undersample` does, but by a choice of its own.

    Rows with a null label, or without a vector of numbers below 1e18, go as "not_comparable"."""

    needs_vectors: ClassVar[bool] = True

    to: Literal["smallest"] | None = None
    """`smallest`: every class keeps as many rows as the smallest one has (unless `ratio` or `cap`)."""
    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Rows of the smallest class divided by the most rows that another keeps: 0.5 keeps twice as many."""
    cap: Count | dict[GroupKey, Count] | None = None
    """The most rows that a class keeps, or a budget for each by name ('*' for all others)."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [name for name in ("to", "ratio", "cap") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of to, ratio and cap, got {', '.join(given)}")
        return self

    def budgets(self, rows: Rows) -> Int64s:
        """(K,) how many rows of each class stay: never more than it has, all of the smallest."""
        sizes = rows.sizes
        least = int(sizes.min())
        if isinstance(self.cap, dict):
            found, lost = by_name(rows.names, self.cap)
            if lost := [name for name in lost if name != rows.names[rows.minority]]:
                raise ValueError(
                    f"cap has no budget for {show_name(lost[0])} of {self.label}; add it, or '*' for others"
                )
            budget = np.array([most or 0 for most in found], np.int64)
        elif self.cap is not None:
            budget = np.full(len(sizes), self.cap, np.int64)
        else:
            budget = np.full(len(sizes), int(least / Fraction(repr(self.ratio or 1.0))), np.int64)
        budget[rows.minority] = sizes[rows.minority]
        return np.minimum(budget, sizes)


def evidence_columns(place: Int64s, have: Bools, state: Artifact, kinds: Adds) -> Columns:
    """The artifact's arrays at these places; null where there is none, for integers below 0 and for NaN."""
    out: dict[str, pa.Array] = {}
    for name, kind in kinds.items():
        values = at(state[name], place)
        unknown = np.isnan(values) if values.dtype.kind == "f" else values < 0
        out[name] = pa.array(values, mask=~have | unknown).cast(kind)
    return out
