"""How many rows a weighted sample really chooses from."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses
from operators.kernels.grouping import (
    MAX_GROUPS,
    MAX_NAME_BYTES,
    group_codes,
    show_name,
    spread,
    together,
)
from operators.kernels.noise import HARM
from operators.kernels.scores import Floats, log_weights, score_reads

Int64s = npt.NDArray[np.int64]

_WINDOW = 64  # powers of two below the largest weight that count
_BITS = 28  # of a weight: 2**35 rows may share a power of two
_FAR = 2.0**50  # log2 weights beyond it are read as this
_NOBODY = -(2**60)
_NEUTRAL = {"top": _NOBODY, "top2": _NOBODY, "most": -math.inf}
_SHOWN = 3
_NARROW, _FLAT = 0.1, 1.05


class EffectiveSize(FoldOp, Telling):
    """Sums weights and their squares, and tells the effective sample size of sampling by them.

    ESS = (sum w)^2 / sum w^2 (Kish 1965): as many equal rows would give an estimate of the same variance.
    tau = sqrt(n / ESS) = sqrt(n sum g^2) with g = w / sum w: the gain in variance over uniform sampling if w
    are gradient norms (Katharopoulos & Fleuret 2018, arXiv 1803.00942, where it reads
    (1 - |g - u|^2 / |g|^2)^(-1/2)). An ESS of a few rows says that a larger sample is the top of the order
    with little chance in it; a tau near 1 that it is nearly a uniform one. Gradient norms of whole texts
    under a language model have tau <= 1.02: nothing is to be gained by them there.

    Exact for any cut: a weight is its power of two and 28 bits, summed as integers; weights 2**64 times
    smaller than the largest do not count. Rows without a finite score, and weights of 0, do not either.

    Artifact, for G groups: `names`, `rows` (those with a weight), `ess`, `tau`, `largest` (the largest
    weight's share of the sum), (G,) each; ess and tau are 0 for a group without such a row.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "words", "score_is": "weight"},
        {"score": "score", "temperature": 0.5, "group": "domain", "descending": False, "min_tau": 2},
    )

    score: str
    """The numeric column to sample by."""
    score_is: Literal["log_weight", "weight"] = "log_weight"
    """What it holds: a log weight (nats), or a weight."""
    temperature: float = Field(1.0, gt=0)
    """The unit in which log weights are counted."""
    descending: bool = True
    """Whether large scores are wanted; otherwise small ones (a weight then counts as its inverse)."""
    group: str | None = None
    """A column of strings or integers, each of whose values is sampled by itself."""
    min_tau: float | None = Field(None, ge=1)
    """Only told: the tau below which whoever uses this draws uniformly."""
    beware: bool = False
    """Only told: that the score seeks noise, and what that does."""

    @property
    def reads(self) -> Reads:
        extra = {self.group: Kind.LABEL} if self.group else {}
        return {**score_reads(self.score, self.score_is, "drop"), **extra}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return (MAX_GROUPS if self.group else 1) * (16 * _WINDOW + 32 + MAX_NAME_BYTES)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        names, codes = group_codes(batch.column(self.group) if self.group else None, batch.num_rows)
        phi = log_weights(batch, self.score, self.score_is, self.descending)
        known = np.isfinite(phi)
        with np.errstate(over="ignore"):
            x = np.clip(phi[known] / (self.temperature * math.log(2)), -_FAR, _FAR)
        codes, groups = codes[known], len(names)
        most = np.full(groups, -math.inf)
        np.maximum.at(most, codes, x)
        top, sums = _sums(x, codes, groups)
        top2, squares = _sums(2 * x, codes, groups)
        rows = np.bincount(codes, minlength=groups).astype(np.int64)
        sizes = {"rows": rows, "most": most}
        return {"names": names, **sizes, "top": top, "sums": sums, "top2": top2, "squares": squares}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        names = together(a["names"], b["names"])
        one, other = spread(a, names, _NEUTRAL), spread(b, names, _NEUTRAL)
        top, sums = _added(one["top"], one["sums"], other["top"], other["sums"])
        top2, squares = _added(one["top2"], one["squares"], other["top2"], other["squares"])
        sizes = {"rows": one["rows"] + other["rows"], "most": np.maximum(one["most"], other["most"])}
        return {"names": names, **sizes, "top": top, "sums": sums, "top2": top2, "squares": squares}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        n = state["rows"]
        ess, largest = np.zeros(len(n)), np.zeros(len(n))
        for g in np.flatnonzero(n):
            total, square = _total(state["sums"][g]), _total(state["squares"][g])
            ess[g] = total**2 / square * 2.0 ** float(2 * state["top"][g] - state["top2"][g])
            largest[g] = 2.0 ** float(state["most"][g] - state["top"][g]) / total
        tau = np.sqrt(np.divide(n, ess, out=np.zeros(len(n)), where=n > 0))
        return {"names": state["names"], "rows": n, "ess": ess, "tau": tau, "largest": largest}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        order = np.argsort(-state["tau"], kind="stable")
        lines = [self._line(state, g) for g in order[:_SHOWN]]
        if len(order) > _SHOWN:
            lines.append(f"and {len(order) - _SHOWN} more groups with a smaller tau")
        lines = lines or ["ESS 0 of 0 rows: there is nothing to sample"]
        return "\n".join([*lines, *([f"beware: {HARM}"] if self.beware else [])])

    def _line(self, state: Artifact, g: int) -> str:
        rows, ess, tau = int(state["rows"][g]), float(state["ess"][g]), float(state["tau"][g])
        where = f"{self.group} {show_name(state['names'][g])}: " if self.group else ""
        if not rows:
            return f"{where}ESS 0 of 0 rows with a weight: there is nothing to sample"
        figures = f"{where}ESS {_short(ess)} of {rows:,} rows, tau {tau:.3g}, the largest weight has "
        figures += f"{state['largest'][g]:.2%} of all: "
        if self.min_tau is not None and tau < self.min_tau:
            return f"{figures}tau is below min_tau = {self.min_tau:g}, rows are drawn uniformly"
        if tau < _FLAT:
            return f"{figures}sampling is nearly uniform"
        narrow = ess < _NARROW * rows
        return figures + ("a sample of more rows is nearly the top k" if narrow else "sampling is weighted")


def _sums(x: Floats, codes: Int64s, groups: int) -> tuple[Int64s, Int64s]:
    """(G,) the largest power of two among 2**x, and (G, 64) sums of 2**x for each power from it down."""
    power = np.floor(x).astype(np.int64)
    top = np.full(groups, _NOBODY, np.int64)
    np.maximum.at(top, codes, power)
    below = top[codes] - power
    near = below < _WINDOW
    value = np.rint(np.exp2(x[near] - power[near]) * 2.0**_BITS).astype(np.int64)
    sums = np.zeros((groups, _WINDOW), np.int64)
    np.add.at(sums, (codes[near], below[near]), value)
    return top, sums


def _added(top_a: Int64s, a: Int64s, top_b: Int64s, b: Int64s) -> tuple[Int64s, Int64s]:
    """Both sums, those of the lower top moved down; what falls out of the window is gone."""
    top = np.maximum(top_a, top_b)
    return top, _moved(a, top - top_a) + _moved(b, top - top_b)


def _moved(sums: Int64s, down: Int64s) -> Int64s:
    places = np.arange(_WINDOW) - down[:, None]
    return np.where(places >= 0, np.take_along_axis(sums, np.maximum(places, 0), axis=1), 0)


def _total(sums: Int64s) -> float:
    """The sum of 2**(x - top), rounded once."""
    exact = sum(int(value) << (_WINDOW - 1 - place) for place, value in enumerate(sums))
    return exact / (1 << (_BITS + _WINDOW - 1))


def _short(x: float) -> str:
    return f"{x:,.0f}" if x >= 1000 else f"{x:.3g}"
