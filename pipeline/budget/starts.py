"""Where a fit begins: a grid over the shapes of a law, with amplitudes that suit the runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from pipeline.budget.laws import FORMS, PUBLISHED, Floats, Points

FLOORS = (1e-3, 0.3, 0.6, 0.8, 0.9, 0.97)  # the irreducible loss as a share of the least one
EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.8, 1.2)
REPEATS = (3.0, 15.0, 60.0)


def starts(kind: str, points: Points, log_loss: Floats) -> Floats:
    """(S, P) thetas to begin at."""
    made = {
        "kaplan_n": _straight_n, "kaplan_d": _straight_d, "kaplan": _kaplan, "chinchilla": _two_terms,
        "data_constrained": _repeated, "transfer": _transfer, "hestness": _one_term, "m4": _m4, "bnsl": _bnsl,
        "exponential": _exponential,
    }[kind](points, log_loss)  # fmt: skip
    published = [FORMS[kind].theta(params) for of, params in PUBLISHED.values() if of == kind]
    return np.concatenate([made, *(row[None] for row in published)])


def _straight(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope (at least a little below zero) and value at 0 of a line through the points."""
    spread = float(np.var(x)) or 1.0
    slope = min(float(np.mean((x - x.mean()) * (y - y.mean()))) / spread, -1e-3)
    return slope, float(np.mean(y) - slope * np.mean(x))


def _straight_n(points: Points, log_loss: Floats) -> Floats:
    slope, at = _straight(points.log_N, log_loss)
    return np.array([[-at / slope, np.log(-slope)]])


def _straight_d(points: Points, log_loss: Floats) -> Floats:
    slope, at = _straight(points.log_D, log_loss)
    return np.array([[-at / slope, np.log(-slope)]])


def _kaplan(points: Points, log_loss: Floats) -> Floats:
    """The corners with either term alone at the mean point, for each pair of exponents."""
    n, d, y = points.log_N.mean(), points.log_D.mean(), log_loss.mean()
    rows = []
    for by_n, by_d, share in product(EXPONENTS[:6], EXPONENTS[:6], (0.1, 0.5, 0.9)):
        # L = (first + second)^by_d, with `share` of the sum in the first
        first, second = y / by_d + np.log(share), y / by_d + np.log(1 - share)
        rows.append([n + first * by_d / by_n, d + second, np.log(by_n), np.log(by_d)])
    return np.array(rows)


def _amplitudes(shapes: Sequence[Floats], rest: Floats) -> list[float]:
    """Logs of amplitudes of one or two shapes (n,) whose sum is near the rest; each at least a hundredth of
    what it would be alone."""
    alone = [float(np.mean(rest * s) / np.mean(s * s)) for s in shapes]
    found = np.linalg.lstsq(np.stack(list(shapes), 1), rest, rcond=None)[0]
    pairs = zip(found, alone, strict=True)
    return [float(np.log(max(f, a / 100, 1e-300))) for f, a in pairs]


def _scaled(log: Floats, exponent: float) -> tuple[Floats, float]:
    """x^-exponent relative to the smallest x, and the log of what it was divided by."""
    least = float(log.min())
    return np.exp(-exponent * (log - least)), exponent * least


def _two_terms(points: Points, log_loss: Floats) -> Floats:
    loss, rows = np.exp(log_loss), []
    for share, alpha, beta in product(FLOORS, EXPONENTS, EXPONENTS):
        floor = share * loss.min()
        (by_n, n0), (by_d, d0) = _scaled(points.log_N, alpha), _scaled(points.log_D, beta)
        a, b = _amplitudes([by_n, by_d], loss - floor)
        rows.append([np.log(floor), a + n0, b + d0, np.log(alpha), np.log(beta)])
    return np.array(rows)


def _repeated(points: Points, log_loss: Floats) -> Floats:
    """Those of two terms on unique tokens, with some constants of repeats."""
    unique = Points(points.log_N, points.log_U, points.log_U, points.log_x)
    both = np.concatenate([_two_terms(points, log_loss)[::2], _two_terms(unique, log_loss)[1::2]])
    stars = np.log(list(product(REPEATS, REPEATS)))
    return np.concatenate([np.repeat(both, len(stars), axis=0), np.tile(stars, (len(both), 1))], axis=1)


def _transfer(points: Points, log_value: Floats) -> Floats:
    design = np.stack([np.ones_like(points.log_D), points.log_D, points.log_N], axis=1)
    return np.asarray(np.linalg.lstsq(design, log_value, rcond=None)[0][None], np.float64)


def _power_floors(points: Points, log_loss: Floats) -> list[tuple[float, float, float]]:
    """Log floor, log amplitude, exponent."""
    loss, rows = np.exp(log_loss), []
    for share, exponent in product(FLOORS, EXPONENTS):
        floor = share * loss.min()
        shape, at = _scaled(points.log_x, exponent)
        (a,) = _amplitudes([shape], loss - floor)
        rows.append((float(np.log(floor)), a + at, exponent))
    return rows


def _one_term(points: Points, log_loss: Floats) -> Floats:
    return np.array([[g, a, np.log(b)] for g, a, b in _power_floors(points, log_loss)])


def _m4(points: Points, log_loss: Floats) -> Floats:
    """With the upper floor a little or far above the largest loss, which makes it a power law."""
    top, rows = float(np.exp(log_loss.max())), []
    for (floor, amplitude, exponent), above, alpha in product(
        _power_floors(points, log_loss), (1.05, 2.0, 20.0), (0.3, 1.0)
    ):
        span = top * above - np.exp(floor)
        middle = float(np.median(np.log(np.maximum(span + np.exp(floor) - np.exp(log_loss), 1e-12))))
        rows.append([floor, np.log(span), np.log(alpha), amplitude - alpha * middle, np.log(exponent)])
    return np.array(rows)


def _bnsl(points: Points, log_loss: Floats) -> Floats:
    low, high = float(points.log_x.min()), float(points.log_x.max())
    rows: list[list[Any]] = []
    for (floor, amplitude, exponent), place, width, bend in product(
        _power_floors(points, log_loss)[::2], (0.2, 0.5, 0.8), (0.3, 1.0), (-0.7, 0.7)
    ):
        at = low + place * (high - low)
        rows.append([floor, amplitude, exponent, at, np.log(width), bend * exponent])
    return np.array(rows)


def _exponential(points: Points, log_loss: Floats) -> Floats:
    loss, x, rows = np.exp(log_loss), np.exp(points.log_x), []
    for share, scale in product(FLOORS, (0.1, 0.3, 1.0, 3.0, 10.0)):
        floor, x0 = share * loss.min(), scale * float(np.median(x))
        (a,) = _amplitudes([np.exp(-(x - x.min()) / x0)], loss - floor)
        rows.append([np.log(floor), a + x.min() / x0, np.log(x0)])
    return np.array(rows)
