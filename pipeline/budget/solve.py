"""The minimum of a robust misfit over the parameters of a law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.budget.laws import Floats, Form, Points
from pipeline.errors import ConfigError

MOST_STARTS = 16  # of the grid, the best ones go to the minimiser
RIVAL = 1.5  # times the least misfit up to which another minimum is one that a refit may prefer
ROUNDS = 12  # of rescaling by the curvature and minimising again
ENOUGH = 1e-9  # relative gain of a round below which it is the last one
EXACT = 1e-14  # misfit of a run, in delta^2, that counts as none


@dataclass(frozen=True)
class Problem:
    """Runs to fit: where they are, the log of what they had, and how often each counts, (n,) each."""

    form: Form
    points: Points
    log_loss: Floats
    weight: Floats
    delta: float
    free: tuple[int, ...]
    """Which parameters are fitted; the others stay where the start has them."""

    def misfit(self, theta: Floats) -> Floats:
        """(S,) sums of Huber's loss of the residuals of log L, in units of delta^2."""
        value, _ = self.form.log_value(theta, self.points)
        size = np.abs(value - self.log_loss) / self.delta
        total = (np.where(size <= 1, size**2 / 2, size - 0.5) * self.weight).sum(axis=1)
        return np.where(np.isfinite(total), total, np.inf)

    def reweighted(self, weight: Floats) -> Problem:
        return Problem(self.form, self.points, self.log_loss, weight, self.delta, self.free)

    def at(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """The misfit at one theta (P,), its gradient and its Gauss-Newton curvature, of the free ones."""
        value, gradient = self.form.log_value(theta[None], self.points)
        slopes = gradient[0][:, self.free]
        residual = (value[0] - self.log_loss) / self.delta
        size = np.abs(residual)
        total = float((np.where(size <= 1, size**2 / 2, size - 0.5) * self.weight).sum())
        pull = np.clip(residual, -1, 1) * self.weight / self.delta
        stiff = self.weight / np.maximum(size, 1) / self.delta**2
        return total, pull @ slopes, (slopes * stiff[:, None]).T @ slopes


def minimise(problem: Problem, start: Floats) -> tuple[Floats, float]:
    """The minimum (P,) that is downhill from a start, and its misfit.

    L-BFGS with the exact gradient, in coordinates in which the curvature at the start is round; again from
    where it stops, as the coefficients and exponents of these laws are correlated to .99 and more.
    """
    from scipy.optimize import minimize

    theta, free = start.copy(), list(problem.free)
    best = problem.at(theta)[0]
    if not free or not np.isfinite(best):
        return theta, best
    for _ in range(ROUNDS):
        scale = _scale(problem.at(theta)[2])

        def value(z: Floats, theta: Floats = theta, scale: Floats = scale) -> tuple[float, Floats]:
            moved = theta.copy()
            moved[free] += scale @ z
            total, slope, _ = problem.at(moved)
            if not (np.isfinite(total) and np.all(np.isfinite(slope))):
                return 1e30, np.zeros_like(z)
            return total, scale.T @ slope

        found = minimize(
            value, np.zeros(len(free)), jac=True, method="L-BFGS-B",
            options={"maxiter": 200, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 12},
        )  # fmt: skip
        gain = best - float(found.fun)
        if gain > 0:
            theta = theta.copy()
            theta[free] += scale @ found.x
            best = float(found.fun)
        if gain <= ENOUGH * best or best <= EXACT * len(problem.log_loss):
            break
    return theta, best


def _scale(curvature: Floats) -> Floats:
    """(P, P) from round coordinates: the inverse root of the curvature, blunted where it is flat."""
    values, vectors = np.linalg.eigh(np.nan_to_num(curvature, posinf=0.0, neginf=0.0))
    floor = max(float(values[-1]) * 1e-12, 1e-12)
    return vectors / np.sqrt(np.maximum(values, floor))


def solve(problem: Problem, grid: Floats, keep: int = 3) -> list[tuple[Floats, float]]:
    """The best distinct minima, at most `keep`, from the best starts of the grid; best first."""
    misfits = np.concatenate([problem.misfit(part) for part in np.array_split(grid, len(grid) // 512 + 1)])
    order = np.argsort(misfits, kind="stable")
    found = [minimise(problem, grid[i]) for i in _spread(order, misfits)]
    found.sort(key=lambda pair: pair[1])
    return distinct(found, keep)


def _spread(order: Any, misfits: Floats) -> Sequence[int]:
    """The best starts, and as many again spread over the next ones, so that not all are neighbours."""
    finite = [int(i) for i in order if np.isfinite(misfits[i])]
    near, far = finite[: MOST_STARTS // 2], finite[MOST_STARTS // 2 :][: 20 * MOST_STARTS]
    step = max(1, len(far) // (MOST_STARTS // 2))
    return [*near, *far[::step][: MOST_STARTS // 2]]


def distinct(found: Sequence[tuple[Floats, float]], keep: int) -> list[tuple[Floats, float]]:
    """Those that differ in the misfit and are not far worse than the first, in the order given."""
    result: list[tuple[Floats, float]] = []
    for theta, misfit in found:
        near = not result or misfit <= RIVAL * result[0][1]
        if near and all(abs(misfit - other) > 1e-6 * (1 + other) for _, other in result):
            result.append((theta, misfit))
    return result[:keep]


def need_scipy() -> None:
    """Raises ConfigError where the packages of the extra `learn` are missing."""
    try:
        import scipy.optimize  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "fitting a law needs scipy and threadpoolctl, which are not installed; pip install 'tamis[learn]'"
        ) from error
