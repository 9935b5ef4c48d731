"""The forms of scaling laws, each as the logarithm of what it predicts and its gradient.

S sets of parameters, n runs. A form is asked at parameters theta (S, P), on scales where each may be any
number: the logarithm of those that must be positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MOST = 690.0  # of a logarithm, either way: beyond it is no finite number
Gradient = list[Any]  # one (S, n) or what broadcasts to it for each parameter


@dataclass(frozen=True)
class Points:
    """Where a law is asked: logarithms (n,) of parameters, of tokens seen and of those that are unique."""

    log_N: Floats
    log_D: Floats
    log_U: Floats
    log_x: Floats
    """The one axis of the laws of one variable: tokens, or parameters on request."""

    @classmethod
    def of(cls, N: Any, D: Any, U: Any = None, over: str = "D") -> Points:
        """U: as many as D where not given. `over` ("N" or "D") is the axis of laws of one variable."""
        n, d = np.broadcast_arrays(np.atleast_1d(np.asarray(N, float)), np.asarray(D, float))
        u = d if U is None else np.broadcast_to(np.minimum(np.asarray(U, float), d), d.shape)
        return cls(np.log(n), np.log(d), np.log(u), np.log(n if over == "N" else d))

    def at(self, keep: Any) -> Points:
        """Some of the points."""
        return Points(self.log_N[keep], self.log_D[keep], self.log_U[keep], self.log_x[keep])


Value = Callable[[Sequence[Any], Points], tuple[Any, Gradient]]


@dataclass(frozen=True)
class Form:
    """One form of law."""

    kind: str
    formula: str
    source: str
    params: tuple[str, ...]
    plain: frozenset[str]
    """Parameters of any sign; the others are positive and fitted as logarithms."""
    exponents: tuple[str, ...]
    """What a leverage is reported for."""
    reads: tuple[str, ...]
    value: Value
    """Columns of theta, each (S, 1), and points -> log of the prediction (S, n), and its gradient."""

    def theta(self, params: dict[str, float]) -> Floats:
        """(P,) parameters as a user reads them, on the scales of a fit."""
        return np.array([params[p] if p in self.plain else np.log(params[p]) for p in self.params])

    def natural(self, theta: Floats) -> Floats:
        """The reverse of `theta`, (..., P)."""
        with np.errstate(over="ignore"):
            columns = [
                theta[..., i] if p in self.plain else np.exp(np.clip(theta[..., i], -MOST, MOST))
                for i, p in enumerate(self.params)
            ]
        return np.stack(columns, axis=-1)

    def log_value(self, theta: Floats, points: Points) -> tuple[Floats, Floats]:
        """(S, n) logarithm of the prediction, and (S, n, P) its gradient."""
        with np.errstate(all="ignore"):
            value, gradient = self.value([theta[:, i, None] for i in range(theta.shape[1])], points)
            shape = (len(theta), len(points.log_N))
            parts = [np.broadcast_to(part, shape) for part in gradient]
        return np.broadcast_to(value, shape), np.stack(parts, axis=-1)


def _sum(*logs: Any) -> tuple[Any, list[Any]]:
    """The log of the sum of exponentials, and the share of each."""
    top = logs[0]
    for log in logs[1:]:
        top = np.maximum(top, log)
    parts = [np.exp(log - top) for log in logs]
    total = sum(parts)
    return top + np.log(total), [part / total for part in parts]


def _kaplan_n(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    log_c, exponent = theta[0], np.exp(theta[1])
    return exponent * (log_c - x.log_N), [exponent, exponent * (log_c - x.log_N)]


def _kaplan_d(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    log_c, exponent = theta[0], np.exp(theta[1])
    return exponent * (log_c - x.log_D), [exponent, exponent * (log_c - x.log_D)]


def _kaplan(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    by_n, by_d = np.exp(theta[2]), np.exp(theta[3])
    first = by_n / by_d * (theta[0] - x.log_N)
    log, (p, q) = _sum(first, theta[1] - x.log_D)
    return by_d * log, [by_n * p, by_d * q, by_d * p * first, by_d * (log - p * first)]


def _chinchilla(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    e, a, b = theta[:3]
    alpha, beta = np.exp(theta[3]), np.exp(theta[4])
    log, (p, q, r) = _sum(e, a - alpha * x.log_N, b - beta * x.log_D)
    return log, [p, q, r, -q * alpha * x.log_N, -r * beta * x.log_D]


def repeated(extra: Any, star: Any) -> Any:
    """What `extra` repeats are worth, in first passes: star * (1 - exp(-extra / star))."""
    return -star * np.expm1(-extra / star)


def _log_enough(a: Any, b: Any, log_alpha: Any, log_beta: Any, log_U: Any) -> tuple[Any, Any, Any]:
    """Log of the parameters that are optimal for U tokens; beta / alpha and log G, which they are made of."""
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    g = (log_alpha + a - log_beta - b) / (alpha + beta)
    ratio = beta / alpha
    return ratio * (log_U + g) + g, ratio, g


def _data_constrained(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    e, a, b, log_alpha, log_beta = theta[:5]
    alpha, beta, star_d, star_n = (np.exp(theta[i]) for i in (3, 4, 5, 6))
    enough, ratio, g = _log_enough(a, b, log_alpha, log_beta, x.log_U)
    log_un = np.minimum(x.log_N, enough)
    over_n, over_d = np.expm1(x.log_N - log_un), np.expm1(x.log_D - x.log_U)
    worth_n, worth_d = 1 + repeated(over_n, star_n), 1 + repeated(over_d, star_d)
    log_n, log_d = log_un + np.log(worth_n), x.log_U + np.log(worth_d)
    log, (p, q, r) = _sum(e, a - alpha * log_n, b - beta * log_d)
    last_n, last_d = np.exp(-over_n / star_n), np.exp(-over_d / star_d)
    by_un = np.where(enough < x.log_N, 1 - last_n * (over_n + 1) / worth_n, 0.0)  # d log N' / d log U_N
    both = alpha + beta
    un = {
        "a": (ratio + 1) / both,
        "alpha": -ratio * (x.log_U + g) + (ratio + 1) * (1 - g * alpha) / both,
        "beta": ratio * (x.log_U + g) - (ratio + 1) * (1 + g * beta) / both,
    }
    star_part_n = (worth_n - 1 - over_n * last_n) / worth_n
    star_part_d = (worth_d - 1 - over_d * last_d) / worth_d
    slope_n = -q * alpha
    return log, [
        p,
        q + slope_n * by_un * un["a"],
        r - slope_n * by_un * un["a"],
        slope_n * (log_n + by_un * un["alpha"]),
        -r * beta * log_d + slope_n * by_un * un["beta"],
        -r * beta * star_part_d,
        slope_n * star_part_n,
    ]


def _transfer(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    k, by_d, by_n = theta
    return k + by_d * x.log_D + by_n * x.log_N, [np.ones_like(k), x.log_D, x.log_N]


def _hestness(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    exponent = np.exp(theta[2])
    log, (p, q) = _sum(theta[0], theta[1] - exponent * x.log_x)
    return log, [p, q, -q * exponent * x.log_x]


def _exponential(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    part = np.exp(x.log_x - theta[2])
    log, (p, q) = _sum(theta[0], theta[1] - part)
    return log, [p, q, q * part]


def _softplus(u: Any) -> Any:
    return np.logaddexp(0.0, u)


def _sigmoid(u: Any) -> Any:
    return np.exp(-_softplus(-u))


def _m4(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    """The loss is between two floors: its place t there (as a logit) solves an equation that rises in t."""
    floor, span = theta[0], theta[1]
    alpha, c = np.exp(theta[2]), np.exp(theta[4])
    wanted = theta[3] - c * x.log_x - (1 - alpha) * span
    t = np.where(wanted > 0, wanted / alpha, wanted) + 0.0
    for _ in range(60):
        slope = _sigmoid(-t) + alpha * _sigmoid(t)
        step = (-_softplus(-t) + alpha * _softplus(t) - wanted) / slope
        t = t - step
        if not np.any(np.abs(step) > 1e-12 * (1 + np.abs(t))):
            break
    slope = _sigmoid(-t) + alpha * _sigmoid(t)
    log, (p, q) = _sum(floor, span - _softplus(-t))
    by_t = q * _sigmoid(-t) / slope
    left = alpha * (span - _softplus(t))
    return log, [p, q - by_t * (1 - alpha), by_t * left, by_t, -by_t * c * x.log_x]


def _bnsl(theta: Sequence[Any], x: Points) -> tuple[Any, Gradient]:
    a, b, c0, log_d, log_f, c1 = theta
    f = np.exp(log_f)
    u = (x.log_x - log_d) / f
    bent = _softplus(u)
    log, (p, q) = _sum(a, b - c0 * x.log_x - c1 * f * bent)
    at = _sigmoid(u)
    return log, [p, q, -q * x.log_x, q * c1 * at, -q * c1 * f * (bent - u * at), -q * f * bent]


def _form(
    kind: str,
    formula: str,
    source: str,
    params: str,
    exponents: str,
    reads: str,
    value: Value,
    plain: str = "",
) -> Form:
    return Form(
        kind, formula, source, tuple(params.split()), frozenset(plain.split()), tuple(exponents.split()),
        tuple(reads.split()), value,
    )  # fmt: skip


FORMS: dict[str, Form] = {
    form.kind: form
    for form in (
        _form(
            "kaplan_n", "L = (N_c / N)^alpha_N", "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.1",
            "N_c alpha_N", "alpha_N", "N", _kaplan_n,
        ),
        _form(
            "kaplan_d", "L = (D_c / D)^alpha_D", "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.2",
            "D_c alpha_D", "alpha_D", "D", _kaplan_d,
        ),
        _form(
            "kaplan", "L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D",
            "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5",
            "N_c D_c alpha_N alpha_D", "alpha_N alpha_D", "N D", _kaplan,
        ),
        _form(
            "chinchilla", "L = E + A / N^alpha + B / D^beta",
            "Hoffmann et al. 2022, arXiv 2203.15556, eq. 2",
            "E A B alpha beta", "alpha beta", "N D", _chinchilla,
        ),
        _form(
            "data_constrained",
            "L = E + A / N'^alpha + B / D'^beta, D' = U + U R_D* (1 - exp(-(D / U - 1) / R_D*)), N' likewise",
            "Muennighoff et al. 2023, arXiv 2305.16264, eq. 5 and 6",
            "E A B alpha beta R_D R_N", "alpha beta R_D R_N", "N D U", _data_constrained,
        ),
        _form(
            "transfer", "D_T = k D_F^a N^b (tokens that a pre-training was worth)",
            "Hernandez et al. 2021, arXiv 2102.01293, eq. 1.2",
            "k a b", "a b", "N D", _transfer, "a b",
        ),
        _form(
            "hestness", "L = g + a / x^b", "Hestness et al. 2017, arXiv 1712.00409, section 3",
            "g a b", "b", "x", _hestness,
        ),
        _form(
            "m4", "(L - floor) / (floor + span - L)^alpha = b / x^c",
            "Alabdulmohsin et al. 2022, arXiv 2209.06640, section 4",
            "floor span alpha b c", "c alpha", "x", _m4,
        ),
        _form(
            "bnsl", "L = a + b x^-c0 (1 + (x / d)^(1 / f))^(-c1 f) (one break)",
            "Caballero et al. 2022, arXiv 2210.14891, eq. 1",
            "a b c0 d f c1", "c0 c1", "x", _bnsl, "c0 c1",
        ),
        _form(
            "exponential", "L = E + A exp(-x / x0)",
            "the change from a power law that Sorscher et al. 2022, arXiv 2206.14486, find under pruning",
            "E A x0", "x0", "x", _exponential,
        ),
    )
}  # fmt: skip

# Constants as the papers print them (Epoch's: Besiroglu et al. 2024, arXiv 2404.10102; datablations: README).
PUBLISHED: dict[str, tuple[str, dict[str, float]]] = {
    "kaplan_n": ("kaplan_n", {"N_c": 8.8e13, "alpha_N": 0.076}),
    "kaplan_d": ("kaplan_d", {"D_c": 5.4e13, "alpha_D": 0.095}),
    "kaplan": ("kaplan", {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}),
    "chinchilla": ("chinchilla", {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}),
    "epoch": ("chinchilla", {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}),
    "data_constrained": (
        "data_constrained",
        {
            "E": float(np.exp(0.6254804)), "A": float(np.exp(6.255414)), "B": float(np.exp(7.3049974)),
            "alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743,
        },
    ),
    "transfer": ("transfer", {"k": 1.9e4, "a": 0.18, "b": 0.38}),
}  # fmt: skip
