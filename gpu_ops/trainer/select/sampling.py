"""What selectors share that draw rows: luck by (seed, batch, row), draws with replacement, and their tau."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.select.selector import Floats, Ints
from operators.kernels.counter import mix64, uniform


def luck(seed: int, number: int, count: int) -> Floats:
    """(count,) uniform numbers in (0, 1): a function of the seed and the number of the batch."""
    with np.errstate(over="ignore"):
        keys = np.add(mix64(np.array([number], np.uint64)), np.arange(count, dtype=np.uint64))
    return uniform(seed, keys)


def normalised(size: Floats) -> Floats:
    """(n,) probabilities in proportion to sizes that are not negative; uniform where all are 0.

    FloatingPointError for a NaN or infinite size: the model has diverged."""
    if not np.isfinite(size).all():
        place = int(np.flatnonzero(~np.isfinite(size))[0])
        raise FloatingPointError(
            f"the score of row {place} of the candidates is {size[place]}: the model has diverged; lower lr"
        )
    top = float(size.max(initial=0.0))
    if top <= 0:
        return np.full(len(size), 1 / max(1, len(size)))
    scaled = size / top  # a sum of huge sizes would overflow
    return np.asarray(scaled / scaled.sum(), np.float64)


def with_replacement(p: Floats, luck: Floats) -> Ints:
    """(k,) places drawn with these probabilities, one for each uniform number; never one with p = 0."""
    ends = np.cumsum(p)
    found = np.searchsorted(ends, luck * ends[-1], side="right")
    return np.minimum(found, np.flatnonzero(p)[-1]).astype(np.int64)


def tau(p: Floats) -> float:
    """How many times as many uniform rows have the same variance: sqrt(n sum p^2) = sqrt(n / ESS), from 1 to
    sqrt(n) (Katharopoulos & Fleuret 2018, eq. 26, where it is (1 - ||p - u||^2 / ||p||^2)^(-1/2))."""
    return float(np.sqrt(len(p) * np.square(p).sum()))


def effective_size(weight: Floats) -> float:
    """(sum w)^2 / sum w^2: as many equal weights are as good (Kish 1965); 0 where all are 0."""
    squares = float(np.square(weight).sum())
    return float(weight.sum() ** 2 / squares) if squares > 0 else 0.0


def below(loss: Floats, cap: float | None) -> Floats:
    """(n,) 1 for rows at or below that percentile of these losses, 0 for those above; 1 without a cap."""
    if cap is None:
        return np.ones(len(loss))
    return (loss <= np.quantile(loss, cap / 100)).astype(np.float64)
