"""When a text is drawn under a pacing function: competence c(t), and the law of the draw time.

Time t and competence c run from 0 to 1: at time t the share c(t) of all texts, the easiest ones, is
available, and a share t has been drawn, uniformly among what is available and not yet drawn. With
many texts an available one is therefore drawn at the rate h(t) = 1 / (c(t) - t), and its draw time T
solves H(T) = H(a) - ln u, where H is the integral of h, a the time at which it became available and u
uniform in (0, 1): so each text's T is a function of its own percentile and its own u.

Below everything is written in z = -ln((1 - c) / (1 - c0)), in which H is nearly a straight line: with
c(t)^p = c0^p + (1 - c0^p) t (Platanios et al. 2019, https://arxiv.org/abs/1903.09848, eq. 9 with T = 1;
p = 1 is their linear pacing),

    dH/dz = p c^(p-1) (1 - c) / ((1 - c0^p) c - c^p + c0^p),

1 / c0 everywhere for p = 1. A text with percentile q becomes available when c = max(q, c0).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_REACH, _STEPS = 64.0, 8192  # 1 - c = e**-64 lies far below what float64 can tell from c = 1


def competence(t: Floats, start: float, power: float) -> Floats:
    """c(t): the share of the texts that is available at time t; `start` at 0, 1 at 1."""
    return np.clip((t * (1 - start**power) + start**power) ** (1 / power), start, 1.0)


def available_at(percentile: Floats, start: float, power: float) -> Floats:
    """The time at which a text becomes available, the inverse of `competence`; 0 for the easiest."""
    return _time(np.maximum(percentile, start), start, power)


def draw_times(percentile: Floats, u: Floats, start: float, power: float) -> Floats:
    """(n,) T in [0, 1] of texts with this percentile of difficulty and these uniform numbers.

    Never before the text is available; where 1 - c is below what float64 holds, T is 1.
    """
    if start >= 1.0:  # everything is available from the beginning: T is uniform
        return 1.0 - u
    ready = np.clip(percentile, start, 1.0)
    with np.errstate(divide="ignore"):
        z_ready = np.minimum(-np.log((1 - ready) / (1 - start)), _REACH)
    z, hazard = _cumulative_hazard(start, power)
    z_drawn = np.interp(np.interp(z_ready, z, hazard) - np.log(u), hazard, z)
    drawn = 1 - (1 - start) * np.exp(-np.maximum(z_drawn, z_ready))
    return _time(np.maximum(drawn, ready), start, power)


def _time(c: Floats, start: float, power: float) -> Floats:
    """t with c(t) = c."""
    if start >= 1.0:
        return np.zeros_like(c)
    return np.clip((c**power - start**power) / (1 - start**power), 0.0, 1.0)


@lru_cache(maxsize=16)
def _cumulative_hazard(start: float, power: float) -> tuple[Floats, Floats]:
    """A grid of z, dense towards 0 where c^(p-1) may be steep, and H at its points by Simpson's rule."""
    z = _REACH * np.linspace(0.0, 1.0, _STEPS + 1) ** 3
    middle = (z[1:] + z[:-1]) / 2
    ends, between = _slope(z, start, power), _slope(middle, start, power)
    cells = np.diff(z) / 6 * (ends[1:] + 4 * between + ends[:-1])
    return z, np.concatenate([[0.0], np.cumsum(cells)])


def _slope(z: Floats, start: float, power: float) -> Floats:
    """dH/dz."""
    left, low = (1 - start) * np.exp(-z), start**power  # 1 - c, c0^p
    # The denominator, without the cancellation that it suffers as written where c nears 1.
    gap = -np.expm1(power * np.log1p(-left)) - (1 - low) * left
    return power * (1 - left) ** (power - 1) * left / gap
