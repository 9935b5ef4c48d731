"""Figures of nested choices: the rows between one share and the next."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses
from operators.kernels.divergence import divergence
from operators.kernels.ngrams import count_ngrams, orders_wanted
from operators.kernels.text_buffers import text_buffers
from operators.ngram_counts import Buckets, Orders, check_target
from operators.quantiles import number_column

_ONE = 1 << 31  # what 1.0 is as an integer: sums of up to 2**32 rows are exact

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


class KeepBands(FoldOp, Telling):
    """Sums scores, weights and n-grams of the rows in each of B nested choices, the last one all rows.

    A part of `keep_curve`, which says what the figures are. Uses the artifacts `span` (`score_span`) and,
    with `texts`, `target` (`ngram_counts`). Scores and weights are summed as integers, relative to the
    largest: means are exact to 2^-32 of the span of the scores, sums of weights to 2^-32 of the largest
    weight a row.

    Artifact, (B,) each: `rows`, `mean` (the score's unit), `ess` (rows); with texts `kl`, KL(target || kept)
    in nats; with `truth` `precision`. NaN where a choice has no rows.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    score: str = "log_weight"
    """The numeric column."""
    within: tuple[str, ...] = ()
    """Boolean columns: whether a row is among the best, each holding those before it; null: no score."""
    descending: bool = True
    """Whether large scores are the best."""
    temperature: float = Field(1.0, gt=0)
    """The unit of the score in weights."""
    truth: str | None = None
    """A boolean column: which rows are wanted."""
    texts: bool = False
    """Whether n-grams are counted."""
    ngrams: Orders = (1, 2)
    """Which n."""
    buckets: Buckets = 10_000
    """How many hash buckets."""
    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count."""

    @property
    def reads(self) -> Reads:
        text: Reads = {"text": TEXT} if self.texts else {}
        truth: Reads = {self.truth: pa.bool_()} if self.truth else {}
        return {self.score: Kind.NUMBER, **dict.fromkeys(self.within, pa.bool_()), **text, **truth}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8 * (len(self.within) + 1) * (5 + self.buckets * self.texts)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        score = number_column(batch.column(self.score))
        known = np.isfinite(score)
        band = np.full(len(score), len(self.within))
        for i in reversed(range(len(self.within))):
            band[_true(batch.column(self.within[i]))] = i
        spans = _place(score[known], uses["span"])
        weights = np.exp(_below_best(score[known], uses["span"], self.descending) / self.temperature)
        wanted = _true(batch.column(self.truth))[known] if self.truth else np.zeros(len(spans), bool)
        values = {"rows": np.ones(len(spans), np.int64), "wanted": wanted.astype(np.int64)}
        values |= {"place": _whole(spans), "weight": _whole(weights), "square": _whole(weights**2)}
        state = {name: self._by_band(value, band[known]) for name, value in values.items()}
        if self.texts:
            state["counts"] = self._counts(batch, np.where(known, band, -1))
        return state

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {name: a[name] + b[name] for name in a}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        total = {name: np.cumsum(value, axis=0) for name, value in state.items()}
        rows = np.where(total["rows"] > 0, total["rows"], np.nan)
        weight, square = total["weight"] / _ONE, total["square"] / _ONE
        least, most = (float(uses["span"][name][0]) for name in ("least", "most"))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = total["place"] / _ONE / rows
            mean = share * most + (1 - share) * least
            found = {"rows": total["rows"], "mean": mean, "ess": weight**2 / square}
        if self.truth:
            found["precision"] = total["wanted"] / rows
        if self.texts:
            check_target("keep_curve", uses["target"]["counts"])
            kl = divergence(uses["target"]["counts"], total["counts"], self.smoothing)
            found["kl"] = np.where(np.isnan(rows), np.nan, kl)
        return found

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        rows = state["rows"]
        if not rows[-1]:
            return f"no row has a finite {self.score}"
        return "\n".join(self._line(state, i) for i in range(len(rows)))

    def _line(self, state: Artifact, i: int) -> str:
        rows, total = int(state["rows"][i]), int(state["rows"][-1])
        if not rows:
            return "0 rows"
        line = f"the best {100 * rows / total:.3g} %, {rows:,} rows" if rows < total else f"all {rows:,} rows"
        line += f": {self.score} {state['mean'][i]:.4g} on average, ESS {state['ess'][i]:.1f}"
        if self.texts:
            line += f", KL to the target {state['kl'][i]:.4f} nats"
            line += f" (reduced by {state['kl'][-1] - state['kl'][i]:.4f})" if rows < total else ""
        return line + (f", precision {state['precision'][i]:.3f}" if self.truth else "")

    def _by_band(self, values: Int64s, band: Int64s) -> Int64s:
        """(B,) exact sums."""
        out = np.zeros(len(self.within) + 1, np.int64)
        np.add.at(out, band, values)
        return out

    def _counts(self, batch: pa.RecordBatch, band: Int64s) -> Int64s:
        """(B, buckets) n-grams of each band's texts."""
        data, starts, ends = text_buffers(batch.column("text"))
        wanted = orders_wanted(self.ngrams)
        mine = [band == i for i in range(len(self.within) + 1)]
        return np.stack([count_ngrams(data, starts[m], ends[m], wanted, self.buckets) for m in mine])


def _true(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _place(score: Float64s, span: Artifact) -> Float64s:
    """(n,) in [0, 1]: where a score stands between the least and the greatest; halves do not overflow."""
    least, most = span["least"][0] / 2, span["most"][0] / 2
    return (score / 2 - least) / (most - least) if most > least else np.zeros(len(score))


def _below_best(score: Float64s, span: Artifact, descending: bool) -> Float64s:
    """(n,) how far a score lies below the best one, at most 0."""
    with np.errstate(over="ignore"):
        return score - span["most"][0] if descending else span["least"][0] - score


def _whole(x: Float64s) -> Int64s:
    return np.rint(x * _ONE).astype(np.int64)
