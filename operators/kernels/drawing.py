"""When a text is drawn while more and more texts become available: the law of the draw time.

Time t and the available share c run from 0 to 1: at time t the share c(t) of all texts, the easiest ones, is
available, and a share t has been drawn, uniformly among what is available and not yet drawn. With many texts
an available one is therefore drawn at the rate h(t) = 1 / (c(t) - t), and its draw time T solves
H(T) = H(a) - ln u, where H is the integral of h, a the time at which it became available and u uniform in
(0, 1): so each text's T is a function of its own percentile and its own u, and nobody has to be simulated.

c is a line through points (`Pacing.line`). On a piece that begins at t0 with the gap g0 = c - t and has the
slope m = dg/dt, the integral is exact: H(t) - H(t0) = ln(1 + m (t - t0) / g0) / m. A jump adds nothing to H.
Where the line meets the diagonal the gap is 0: all that is available has been drawn by then.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.kernels.pacing import Line

Floats = npt.NDArray[np.float64]
_LEAST = 2.0**-52  # a gap: on the diagonal a text is drawn when it becomes available, but for this
_MOST = 64.0  # of H over one piece, as -ln u of a float64 stays below 38


def above_diagonal(line: Line) -> Line:
    """The line max(c(t), t): the easiest of what is left is always available."""
    t, c = line
    gap = c - t
    crosses = np.flatnonzero(gap[:-1] * gap[1:] < 0)
    share = gap[crosses] / (gap[crosses] - gap[crosses + 1])
    at = t[crosses] + share * (t[crosses + 1] - t[crosses])
    t = np.insert(t, crosses + 1, at)
    c = np.maximum.accumulate(np.insert(c, crosses + 1, at))  # rounding may have lowered a level by a bit
    return t, np.maximum(c, t)


def composed(line: Line, values: Floats, shares: Floats) -> Line:
    """The share that is available at each time, where `line` is the greatest value that is; all at its end.

    values, shares: (m,) ascending, the distribution of the values: the share of the texts up to each one,
    straight in between; two shares at one value are its ties."""
    t, x = line
    place = np.searchsorted(values, x, side="right")
    low, high = np.clip(place - 1, 0, len(values) - 1), np.clip(place, 0, len(values) - 1)
    width = values[high] - values[low]
    within = np.divide(x - values[low], width, out=np.zeros_like(x), where=width > 0)
    at_points = shares[low] + np.clip(within, 0.0, 1.0) * (shares[high] - shares[low])
    times = np.concatenate([t, available_at(values, line)])
    found = np.concatenate([np.where(x < x[-1], at_points, 1.0), shares])
    order = np.lexsort([found, times])
    return times[order], np.maximum.accumulate(found[order])


def available_at(percentile: Floats, line: Line) -> Floats:
    """(n,) the first time at which the line reaches these values; 0 for what it begins with."""
    return _available(percentile, line)[0]


def draw_times(percentile: Floats, u: Floats, line: Line) -> Floats:
    """(n,) T in [0, 1] of texts with this percentile of difficulty and these uniform numbers in (0, 1).

    Never before the text is available. line: from time 0 to (1, 1), nowhere below the diagonal."""
    t, c = line
    gap, width = np.maximum(c - t, _LEAST), np.diff(t)
    slope = np.divide(np.diff(gap), width, out=np.zeros_like(width), where=width > 0)
    passed = np.concatenate([[0.0], np.cumsum(np.minimum(_hazard(gap[:-1], slope, width), _MOST))])
    ready, piece = _available(percentile, line)
    gap_ready = np.maximum(gap[piece] + slope[piece] * (ready - t[piece]), _LEAST)
    wanted = -np.log(u)
    left = _hazard(gap_ready, slope[piece], t[piece + 1] - ready)
    soon = np.minimum(ready + _advance(gap_ready, slope[piece], wanted), t[piece + 1])
    target = passed[piece + 1] + np.maximum(wanted - left, 0.0)
    then = np.clip(np.searchsorted(passed, target, side="right") - 1, 0, len(width) - 1)
    later = np.minimum(t[then] + _advance(gap[then], slope[then], target - passed[then]), t[then + 1])
    return np.clip(np.where(wanted <= left, soon, later), ready, 1.0)


def _available(percentile: Floats, line: Line) -> tuple[Floats, npt.NDArray[np.intp]]:
    """When each becomes available, and on which piece of the line that is."""
    t, c = line
    wanted = np.clip(percentile, c[0], c[-1])
    end = np.searchsorted(c, wanted, side="left")
    piece = np.maximum(end - 1, 0)
    rise = c[end] - c[piece]
    share = np.divide(wanted - c[piece], rise, out=np.zeros_like(wanted), where=rise > 0)
    return t[piece] + share * (t[end] - t[piece]), np.minimum(piece, len(t) - 2)


def _hazard(gap: Floats, slope: Floats, width: Floats) -> Floats:
    """The integral of 1 / (gap + slope x) for x from 0 to width."""
    ratio = np.maximum(slope * width / gap, -1 + _LEAST)
    bent = np.divide(np.log1p(ratio), ratio, out=np.ones_like(ratio), where=np.abs(ratio) > 1e-12)
    return width / gap * bent


def _advance(gap: Floats, slope: Floats, hazard: Floats) -> Floats:
    """The width whose `_hazard` this is."""
    product = slope * hazard
    with np.errstate(over="ignore"):
        bent = np.divide(np.expm1(product), product, out=np.ones_like(product), where=np.abs(product) > 1e-12)
        return gap * hazard * bent
