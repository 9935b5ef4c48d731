"""Counter-based randomness: a number is a pure function of (seed, key), never of a stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]


def mix64(x: UInt64s) -> UInt64s:
    """The finaliser of SplitMix64 (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195): a
    bijection of uint64 whose output bits all depend on all input bits."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def random_bits(seed: int, key: UInt64s) -> UInt64s:
    """(n,) 64 random bits for each key."""
    stream = mix64(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
    return mix64(np.asarray(key, dtype=np.uint64) ^ stream)


def uniform(seed: int, key: UInt64s) -> npt.NDArray[np.float64]:
    """(n,) numbers in the open interval (0, 1) with 52 random bits, one for each key."""
    return ((random_bits(seed, key) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
