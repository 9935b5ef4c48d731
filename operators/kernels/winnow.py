"""Winnowing: the few grams of a token sequence that every long enough match is sure to share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, kernel
from operators.kernels.shingles import mix

UInt64s = npt.NDArray[np.uint64]

# The radix of the polynomials that hash runs of tokens, mod 2^64, in either half.
_LOW_RADIX, _HIGH_RADIX = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
_SIZE_STEP = np.uint64(0xE7037ED1A0B428DB)
_ONE = np.uint64(1)


def powers(most: int) -> UInt64s:
    """(2, most + 1) uint64: the powers of either radix, for `run_hash` of up to `most` tokens."""
    steps = np.ones((2, most + 1), np.uint64)
    steps[:, 1:] = np.array([[_LOW_RADIX], [_HIGH_RADIX]], np.uint64)
    return np.cumprod(steps, axis=1, dtype=np.uint64)


@kernel
def accumulate(count: int, low: Any, high: Any) -> None:
    """Turns the hashes of tokens in [1 : count + 1] of either half into those of all prefixes."""
    a, b = np.uint64(0), np.uint64(0)
    low[0], high[0] = a, b
    for i in range(_ONE, np.uint64(count + 1)):
        a = a * _LOW_RADIX + low[i]
        b = b * _HIGH_RADIX + high[i]
        low[i], high[i] = a, b


@inlined
def run_hash(prefix: Any, start: Any, size: Any, power: Any) -> Any:
    """One half of the hash of `size` tokens (uint64) from token `start` on, from that half's prefixes;
    power: radix ** size."""
    return mix(prefix[start + size] - prefix[start] * power + size * _SIZE_STEP)


@kernel
def winnow(prefix: Any, count: int, gram: int, length: int, power: Any, out: Any) -> Any:
    """Chooses grams of a text of `count` tokens and returns how many.

    A gram is the hash of `gram` tokens, a window `length` tokens. Of every window the leftmost least
    gram is chosen (Schleimer, Wilkerson & Aiken 2003, section 3), so equal windows choose equal grams
    at equal places. out: all grams (uint64); of every choice its gram's place and the first of the
    windows in a row that chose it (int32). `count` cells are enough.
    """
    grams, place, first = out
    chosen, least = np.uint64(0), np.uint64(0)
    best: Any = np.uint64(0)
    if count < length:
        return chosen
    size, width = np.uint64(gram), np.uint64(length - gram + 1)
    for t in range(np.uint64(count - gram + 1)):
        grams[t] = run_hash(prefix, t, size, power)
    for i in range(np.uint64(count - length + 1)):
        entering = i + width - _ONE
        if chosen == 0 or best < i:
            best, least = i, grams[i]
            for k in range(i + _ONE, entering + _ONE):
                if grams[k] < least:
                    best, least = k, grams[k]
        elif grams[entering] < least:
            best, least = entering, grams[entering]
        else:
            continue
        place[chosen], first[chosen] = best, i
        chosen += _ONE
    return chosen


def reference(grams: list[int], width: int) -> list[tuple[int, int]]:
    """(place, first window) of the choices among windows of `width` grams, by definition."""
    windows = [grams[i : i + width] for i in range(len(grams) - width + 1)]
    places = [i + window.index(min(window)) for i, window in enumerate(windows)]
    return [(place, i) for i, place in enumerate(places) if i == 0 or places[i - 1] != place]
