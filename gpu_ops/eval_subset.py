"""A part of an evaluation set that tells its mean with a known standard error."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from gpu_ops.kernels.pool import Float64s, Int64s, Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp
from operators.contract import Artifact, Telling
from operators.kernels.counter import uniform
from operators.kernels.mixing import fill

_STREAM = 0x6576616C  # keeps apart from other operators that share a seed


class EvalSubset(SelectOp, Telling):
    """Draws a stratified random sample of an evaluation set, with the weights that make means unbiased.

    Strata are the values of `strata`, cut further into `bins` of equally many rows by `proxy`, a number that
    goes with the metric (a smaller model's loss, say). From stratum h, with N_h of the N rows, n_h are drawn
    without replacement: in proportion to N_h, or to N_h S_h (`neyman`: Neyman 1934, the allocation of least
    variance, for the proxy's standard deviation S_h), at least one, and all where that asks for more (the
    rest is shared again). `weight` is N_h / n_h, the inverse probability of inclusion, so that the sum of
    weight x metric over the rows that stay, divided by N, is an unbiased estimate of the mean (Cochran 1977,
    chapter 5). Its standard error is sqrt(sum (N_h / N)^2 (1 - n_h / N_h) S_h^2 / n_h).

    The end of a run shows that error for the proxy, that of as many simple random rows, and the design
    effect, the ratio of both variances: below 1 the strata help. For the metric itself, it is that of the
    proxy only so far as both go together; a useless proxy costs nothing with `proportional`, but something
    with `neyman`.

    Rows without a finite proxy are "not_comparable", and what is told is about the others. A stratum
    without a row would bias every mean. So where there are more strata than rows to draw, or those with a
    share below one row would take more than half of the rows, the latter are one stratum.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_share": 0.4, "strata": "label", "seed": 1},
        {"keep_rows": 20, "proxy": "score", "bins": 3, "allocation": "neyman", "mark": True, "seed": 2},
    )

    strata: str | None = None
    """A column of strings or integers, such as the class, the domain or the source."""
    proxy: str | None = None
    """A numeric column that goes with the metric."""
    bins: Annotated[int, Field(ge=1, le=1000)] = 1
    """Into how many parts by `proxy` each value of `strata` is cut; fewer, where it has fewer rows."""
    allocation: Literal["proportional", "neyman"] = "proportional"
    """Rows drawn in proportion to the stratum's rows, or to rows times the proxy's standard deviation."""

    @model_validator(mode="after")
    def _needs_a_proxy(self) -> Self:
        if self.proxy is None and (self.bins > 1 or self.allocation == "neyman"):
            raise ValueError("bins and neyman need a proxy: name a column that goes with the metric")
        return self

    @property
    def wanted(self) -> Wanted:
        numbers = [self.proxy] if self.proxy else []
        return Wanted(numbers=numbers, labels=[self.strata] if self.strata else [])

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        free = np.flatnonzero(~pool.taken)
        values = pool.numbers[self.proxy][free] if self.proxy else np.zeros(len(free))
        stratum = self._strata(pool, free, values)
        found = int(stratum.max()) + 1
        stratum = _collapsed(stratum, k)
        sizes = np.bincount(stratum)
        deviation = _deviations(stratum, values, sizes)
        drawn = allocated(k, sizes, deviation if self.allocation == "neyman" else np.ones(len(sizes)))
        luck = uniform((self.seed or 0) ^ _STREAM, pool.key[free])
        order = np.lexsort((free, luck, stratum))
        rank = np.arange(len(free)) - np.searchsorted(stratum[order], np.arange(len(sizes)))[stratum[order]]
        chosen = order[rank < drawn[stratum[order]]]
        chosen = chosen[np.lexsort((free[chosen], luck[chosen]))]
        figures = {"sizes": sizes, "drawn": drawn, "deviation": deviation, "found": np.array([found])}
        if len(values):
            figures |= {"mean": np.array([values.mean()]), "all_deviation": _deviation(values)}
        return Choice(free[chosen], (sizes / drawn)[stratum[chosen]], figures)

    def tell(self, state: Artifact) -> str:
        if "sizes" not in state:
            return "with `group`, every group is a sample of its own" if self.group else "nothing was drawn"
        sizes, drawn = state["sizes"], state["drawn"]
        lines = [f"{drawn.sum():,} of {sizes.sum():,} rows from {len(sizes):,} strata"]
        if merged := int(state["found"][0]) - len(sizes):
            lines.append(f"{merged + 1:,} small strata were taken as one: each has a share below a row")
        if self.proxy:
            error = standard_error(sizes, drawn, state["deviation"])
            simple = standard_error(sizes.sum()[None], drawn.sum()[None], state["all_deviation"])
            effect = f"{(error / simple) ** 2:.3f}" if simple else "not defined"
            lines.append(f"mean of {self.proxy}: {state['mean'][0]:.6g}, standard error {error:.3g}")
            lines.append(f"simple random rows: {simple:.3g}; design effect {effect}")
        return "\n".join(lines)

    def _strata(self, pool: Pool, free: Int64s, values: Float64s) -> Int64s:
        """(n,) the stratum of each free row, from 0, none empty."""
        code = pool.labels[self.strata].code[free] if self.strata else np.zeros(len(free), np.int64)
        order = np.lexsort((free, values, code))
        sizes = np.bincount(code)
        place = np.empty(len(free), np.int64)
        place[order] = np.arange(len(free)) - (np.cumsum(sizes) - sizes)[code[order]]
        part = place * np.minimum(self.bins, sizes)[code] // sizes[code]
        return np.unique(code * (self.bins + 1) + part, return_inverse=True)[1].reshape(-1)


def _collapsed(stratum: Int64s, most: int) -> Int64s:
    """(n,) the strata (from 0, none empty), those whose share of `most` rows is below one row as one stratum,
    where there are more strata than rows, or where these would take more than half of the rows: each needs a
    row, which the others, with nearly all of the weight, would lack."""
    sizes = np.bincount(stratum)
    small = sizes * most < sizes.sum()
    if len(sizes) <= most and 2 * int(small.sum()) <= most:
        return stratum
    place = np.where(small, int((~small).sum()), np.cumsum(~small) - 1)
    return np.asarray(place[stratum], np.int64)


def allocated(k: int, sizes: Int64s, deviation: Float64s) -> Int64s:
    """(H,) rows of each stratum in proportion to size x deviation: k in all, at least one and at most all of
    each. Where all deviations are 0, in proportion to the sizes."""
    weights = [Fraction(int(n)) * Fraction(float(s)) for n, s in zip(sizes, deviation, strict=True)]
    if not any(weights):
        weights = [Fraction(int(n)) for n in sizes]
    drawn = np.zeros(len(sizes), np.int64)
    few = np.zeros(len(sizes), bool)  # strata that would get less than one row get one
    while True:
        drawn[few] = 1
        rest = np.flatnonzero(~few)
        drawn[rest] = fill(k - int(few.sum()), sizes[rest], [weights[i] for i in rest])
        if drawn.all():
            break
        few |= drawn == 0
    left = k - int(drawn.sum())  # strata without spread have room that those with spread have not
    return drawn + fill(left, sizes - drawn, [Fraction(int(n)) for n in sizes - drawn])


def standard_error(sizes: Int64s, drawn: Int64s, deviation: Float64s) -> float:
    """Of the weighted mean of a stratified sample; of a stratum with one row, its deviation is 0."""
    share = sizes / max(sizes.sum(), 1)
    unit = float(deviation.max(initial=0)) or 1.0  # so that no square overflows
    return unit * float(np.sqrt((share**2 * (1 - drawn / sizes) * (deviation / unit) ** 2 / drawn).sum()))


def _deviations(stratum: Int64s, values: Float64s, sizes: Int64s) -> Float64s:
    """(H,) the sample standard deviation of each stratum; 0 of one row."""
    unit = float(np.abs(values).max(initial=0)) or 1.0  # so that no square overflows
    scaled = values / unit
    apart = scaled - (np.bincount(stratum, scaled) / sizes)[stratum]
    return unit * np.sqrt(np.bincount(stratum, apart * apart) / np.maximum(sizes - 1, 1))


def _deviation(values: Float64s) -> Float64s:
    """(1,) the sample standard deviation; 0 of one row."""
    return _deviations(np.zeros(len(values), np.int64), values, np.array([len(values)]))
