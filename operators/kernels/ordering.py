"""Unsigned integers that sort like the numbers they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]
UInt32s = npt.NDArray[np.uint32]


def float64_order(x: npt.NDArray[np.float64]) -> UInt64s:
    """(n,) uint64 with a < b exactly where x_a < x_b; -0.0 equals 0.0, no NaN.

    The bits of an IEEE 754 number sort like a sign and a magnitude: negatives are inverted, the
    others get the top bit.
    """
    bits = (np.ascontiguousarray(x, np.float64) + 0.0).view(np.uint64)
    return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))


def order_float64(order: UInt64s) -> npt.NDArray[np.float64]:
    """(n,) the numbers that `float64_order` turned into these."""
    top = order >> np.uint64(63)
    return np.where(top, order & np.uint64((1 << 63) - 1), ~order).view(np.float64)


def float32_order(x: npt.NDArray[np.floating[Any]]) -> UInt32s:
    """(n,) uint32 that sorts like x rounded to float32: a <= b wherever x_a <= x_b; no NaN."""
    with np.errstate(over="ignore"):
        bits = (np.asarray(x).astype(np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def order_float32(order: UInt32s) -> npt.NDArray[np.float32]:
    """(n,) the numbers that `float32_order` turned into these, rounded to float32."""
    top = order >> np.uint32(31)
    return np.where(top, order & np.uint32((1 << 31) - 1), ~order).view(np.float32)


def unit_order(x: npt.NDArray[np.float64]) -> UInt64s:
    """(n,) fixed-point uint64 of numbers in [0, 1], never descending: 0 -> 0, 1 -> 2**64 - 1."""
    inside = x < 1.0
    scaled = np.where(inside, x, 0.0) * 2.0**64
    return np.where(inside, scaled.astype(np.uint64), np.uint64(2**64 - 1))
