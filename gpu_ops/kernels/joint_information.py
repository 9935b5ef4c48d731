"""Which rows' labels together say most of the weights of a model, greedily (BatchBALD).

Legend: n rows, T passes, K classes, M configurations: labels of all rows chosen so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.uncertainty import entropy
from operators.kernels.counter import UInt64s, mix64, uniform

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIGITS = 9  # gains that are equal to so many digits are: products depend on the block in the last ones
_CELLS = 1 << 21  # configurations times classes times rows at once
_STREAM = 0x6A6F696E74  # keeps apart from other operators that share a seed


@dataclass(frozen=True)
class Configurations:
    """weight: (M,) adding up to 1, the probability of each. passes: (M, T) the probability of each pass once
    these labels are seen. exact: whether they are all that there are, or a sample of them."""

    weight: Float64s
    passes: Float64s
    exact: bool = True

    def gains(self, p: Float64s) -> Float64s:
        """(b,) nats that the label of each row adds to what the weights' posterior is told.
        p: (b, T, K)."""
        rows, passes, classes = p.shape
        predicted = self.passes @ p.transpose(1, 0, 2).reshape(passes, rows * classes)
        unknown = self.weight @ _entropies(predicted).reshape(len(self.weight), rows, classes).sum(axis=2)
        return np.asarray(unknown - _entropies(p).sum(axis=2).mean(axis=1))

    def with_row(self, p: Float64s, most: int, luck: float) -> Configurations:
        """Those with the label of one more row, p (T, K); more than `most` are thinned to that many
        by systematic resampling, whose one random number in (0, 1) is `luck`."""
        weight = (self.weight[:, None] * (self.passes @ p)).reshape(-1)
        likely = np.flatnonzero(weight > 0)
        exact = self.exact and len(likely) <= most
        if len(likely) > most:
            points = (np.arange(most) + luck) / most * weight[likely].sum()
            place = np.minimum(np.searchsorted(np.cumsum(weight[likely]), points), len(likely) - 1)
            place, count = np.unique(place, return_counts=True)
            likely, share = likely[place], count / most
        else:
            share = weight[likely] / weight[likely].sum()
        before, label = np.divmod(likely, p.shape[1])
        passes = self.passes[before] * p[:, label].T
        return Configurations(share, passes / passes.sum(axis=1, keepdims=True), exact)


@dataclass(frozen=True)
class Batch:
    """index: (m,) the rows as they were chosen. gain: (m,) nats that each added to the joint mutual
    information. exact: of how many of them that is no estimate."""

    index: Int64s
    gain: Float64s
    exact: int


def none_yet(passes: int) -> Configurations:
    """Nothing is labelled: there is one configuration, and all passes are equally likely."""
    return Configurations(np.ones(1), np.full((1, passes), 1 / passes))


def greedy_batch(p: Float32s, passes: int, k: int, free: Bools, key: UInt64s, seed: int, most: int) -> Batch:
    """k of the free rows (n,), each the one whose label adds most to those before (Kirsch et al. 2019,
    algorithm 1).

    p: (n, T * K), the passes one after the other. most: the most configurations. What a row adds falls as
    others are chosen (submodularity), so only rows are looked at whose last known gain is not below the
    best one found. Of equal ones the earliest by (seed, key) comes first.
    """
    luck = uniform(seed ^ _STREAM, key)
    known = none_yet(passes)
    bound, free = _looked_at(known, p, np.arange(len(p)), passes), free.copy()
    chosen: list[int] = []
    gained: list[float] = []
    exact = 0
    for _ in range(min(k, int(free.sum()))):
        one = _best(known, p, passes, bound, free, luck)
        exact += known.exact
        chosen.append(one)
        gained.append(float(bound[one]))
        free[one] = False
        draw = uniform(seed ^ _STREAM ^ len(chosen), mix64(key[one : one + 1]))[0]
        known = known.with_row(_shaped(p[one : one + 1], passes)[0], most, float(draw))
    return Batch(np.array(chosen, np.int64), np.array(gained), exact)


def _best(
    known: Configurations, p: Float32s, passes: int, bound: Float64s, free: Bools, luck: Float64s
) -> int:
    """The free row of the largest gain; `bound` (n,) is brought up to date where it is looked at."""
    rows = np.flatnonzero(free)
    rows = rows[np.lexsort((luck[rows], -bound[rows]))]
    size = max(1, _CELLS // (len(known.weight) * (p.shape[1] // passes)))
    best, looked = -np.inf, 0
    while looked < len(rows) and bound[rows[looked]] >= best:
        some = rows[looked : looked + size]
        bound[some] = _looked_at(known, p, some, passes)
        best, looked = max(best, bound[some].max()), looked + len(some)
    ties = rows[:looked][bound[rows[:looked]] == best]
    return int(ties[np.argmin(luck[ties])])


def _looked_at(known: Configurations, p: Float32s, rows: Int64s, passes: int) -> Float64s:
    """(m,) the gains of these rows, block for block."""
    size = max(1, _CELLS // (len(known.weight) * (p.shape[1] // passes)))
    parts = [known.gains(_shaped(p[rows[i : i + size]], passes)) for i in range(0, len(rows), size)]
    return np.round(np.concatenate([np.zeros(0), *parts]), DIGITS)


def _shaped(p: Float32s, passes: int) -> Float64s:
    """(b, T, K), of sums that are 1 in float64 too."""
    wide = np.asarray(p, np.float64).reshape(len(p), passes, p.shape[1] // passes)
    return wide / wide.sum(axis=2, keepdims=True)


def _entropies(p: Float64s) -> Float64s:
    """-p log p of each number; 0 has none."""
    return -p * np.log(np.where(p > 0, p, 1))


def joint_information(p_TnK: Float64s) -> float:
    """The mutual information (nats) of the weights and the labels of all n rows together, by writing out all
    K**n configurations: what the others are held against."""
    passes = np.ones((len(p_TnK), 1))
    for row in range(p_TnK.shape[1]):
        passes = (passes[:, :, None] * p_TnK[:, row, None, :]).reshape(len(passes), -1)
    with np.errstate(divide="ignore"):
        together = entropy(np.log(passes.mean(axis=0)))
        return float(together - entropy(np.log(p_TnK)).sum(axis=1).mean())
