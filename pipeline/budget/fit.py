"""Fits a law to runs: robustly, with intervals, leverage and the error on the largest runs held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from operators.kernels.counter import uniform
from pipeline.budget.diagnose import leverage, tied, warnings_of
from pipeline.budget.law import Law
from pipeline.budget.laws import FORMS, PUBLISHED, Floats, Form, Points
from pipeline.budget.runs import Runs
from pipeline.budget.solve import Problem, minimise, need_scipy, solve
from pipeline.budget.starts import starts
from pipeline.errors import ConfigError, DataError
from pipeline.suggest import did_you_mean

DELTA = 1e-3  # of Huber's loss of log L, as Hoffmann et al. 2022 and Besiroglu et al. 2024


def fit(
    runs: Runs,
    kind: str = "chinchilla",
    *,
    delta: float = DELTA,
    bootstrap: int = 200,
    holdout: float = 0.1,
    drop_outliers: int = 0,
    fixed: Mapping[str, float] | None = None,
    over: str = "D",
    seed: int = 0,
) -> Law:
    """The law of this form that is nearest to the runs.

    Minimised is the sum of Huber's loss (`delta`) of log predicted - log measured (the sum and not the mean:
    Besiroglu et al. 2024, arXiv 2404.10102, find that the mean stopped L-BFGS too early in Hoffmann et al.),
    from the best of a grid of starts. `bootstrap` refits on runs drawn with replacement give the intervals,
    a fit without the `holdout` share with the most compute (of laws of one variable: the largest on it) gives
    the held-out error. `drop_outliers`: leave out so many, one by one, each time the run that the fit to the
    others meets worst. `fixed`: parameters that are known. `over`: N or D, the axis of hestness, m4, bnsl and
    exponential.

    The law of transfer predicts tokens: `runs.loss` are then the tokens that a pre-training was worth, D
    those of the fine-tuning.

    Raises ConfigError for settings, DataError for too few runs.
    """
    need_scipy()
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # these matrices are small: more threads only wait for each other
        return _fit(runs, kind, delta, bootstrap, holdout, drop_outliers, fixed or {}, over, seed)


def _fit(
    runs: Runs, kind: str, delta: float, bootstrap: int, holdout: float, drop_outliers: int,
    fixed: Mapping[str, float], over: str, seed: int,
) -> Law:  # fmt: skip
    form = _form(kind, over, runs, drop_outliers, fixed)
    free = tuple(i for i, name in enumerate(form.params) if name not in fixed)
    if len(runs) - drop_outliers < len(free) + 1:
        raise DataError(
            f"{kind} has {len(free)} parameters to fit and there are {len(runs) - drop_outliers} runs; "
            f"give at least {len(free) + 1}, better {3 * len(free)}"
        )
    problem = _problem(form, runs, delta, free, over)
    grid = _grid(problem, fixed)
    best = solve(problem, grid)
    dropped: list[int] = []
    for _ in range(drop_outliers):
        dropped.append(worst(problem, best[0][0]))
        weight = problem.weight.copy()
        weight[dropped[-1]] = 0
        problem = problem.reweighted(weight)
        best = solve(problem, np.concatenate([[theta for theta, _ in best], grid]))
    kept = np.setdiff1d(np.arange(len(runs)), dropped)
    left, problem = runs.at(kept), _problem(form, runs.at(kept), delta, free, over)
    refits = _bootstrap(problem, [theta for theta, _ in best], bootstrap, seed)
    params = dict(zip(form.params, map(float, form.natural(best[0][0])), strict=True))
    law = Law(
        kind, params, _intervals(form, refits, free), form.natural(refits),
        leverage(problem, best[0][0], left),
        _held_out(problem, grid, [t for t, _ in best], holdout, len(free)), _reach(left, form, over),
        _figures(problem, best[0], left), (), over, tuple(dropped),
    )  # fmt: skip
    return replace(law, warnings=tuple(warnings_of(law, len(free), form)))


def choose(runs: Runs, kinds: Sequence[str], **options: Any) -> tuple[Law, dict[str, Law]]:
    """The law with the least error on the largest runs held out, and all of them by kind."""
    laws = {kind: fit(runs, kind, **options) for kind in kinds}
    without = [kind for kind, law in laws.items() if law.holdout_error is None]
    if without:
        raise DataError(
            f"too few runs to hold any out for {', '.join(without)}, so that no law can be chosen"
        )
    best = min(laws, key=lambda kind: laws[kind].holdout_error["mean"])  # type: ignore[index]
    return laws[best], laws


def _form(kind: str, over: str, runs: Runs, drop: int, fixed: Mapping[str, float]) -> Form:
    if kind not in FORMS:
        raise ConfigError(f"no law {kind!r}{did_you_mean(kind, FORMS)}")
    form = FORMS[kind]
    for name, value in fixed.items():
        if name not in form.params:
            raise ConfigError(f"{kind} has no parameter {name!r}{did_you_mean(name, form.params)}")
        if not np.isfinite(value) or (value <= 0 and name not in form.plain):
            raise ConfigError(f"{kind}: {name} = {value} cannot be fixed; it is a positive number")
    if over not in ("N", "D"):
        raise ConfigError(f"a law of one variable is over N or D, not {over!r}")
    if not 0 <= drop < len(runs):
        raise ConfigError(f"{drop} outliers cannot be dropped of {len(runs)} runs")
    return form


def _problem(form: Form, runs: Runs, delta: float, free: tuple[int, ...], over: str) -> Problem:
    points = Points.of(runs.N, runs.D, runs.U, over)
    return Problem(form, points, np.log(runs.loss), np.ones(len(runs)), delta, free)


def _grid(problem: Problem, fixed: Mapping[str, float]) -> Floats:
    form = problem.form
    grid = starts(form.kind, problem.points, problem.log_loss)
    for name, value in fixed.items():
        grid[:, form.params.index(name)] = value if name in form.plain else np.log(value)
    return grid


def worst(problem: Problem, theta: Floats) -> int:
    """Which run the law at theta (P,) misses most, of those that count."""
    value, _ = problem.form.log_value(theta[None], problem.points)
    return int(np.argmax(np.abs(value[0] - problem.log_loss) * (problem.weight > 0)))


def _bootstrap(problem: Problem, begins: list[Floats], count: int, seed: int) -> Floats:
    """(B, P) refits to runs drawn with replacement, from the minima of the whole; which runs is a function of
    (seed, number of the draw)."""
    n = len(problem.log_loss)
    refits = [np.empty((0, len(begins[0])))]
    for b in range(count):
        drawn = (uniform(seed, np.arange(b * n, (b + 1) * n, dtype=np.uint64)) * n).astype(int)
        again = problem.reweighted(np.bincount(drawn, minlength=n).astype(float))
        found = [minimise(again, begin) for begin in begins[:2]]
        refits.append(min(found, key=lambda pair: pair[1])[0][None])
    return np.concatenate(refits)


def _intervals(form: Form, refits: Floats, free: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    if len(refits) < 2:
        return {}
    low, high = form.natural(np.percentile(refits, [2.5, 97.5], axis=0))
    return {form.params[i]: (float(low[i]), float(high[i])) for i in free}


def _held_out(
    problem: Problem, grid: Floats, begins: list[Floats], share: float, free: int
) -> dict[str, Any] | None:
    """The largest runs predicted by a fit to the others; None where too few would be left."""
    points = problem.points
    size = points.log_x if problem.form.reads == ("x",) else points.log_N + points.log_D
    held = max(1, round(share * len(size))) if share > 0 else 0
    if not held or len(size) - held < free + 1:
        return None
    largest = np.argsort(size, kind="stable")[-held:]
    weight = np.ones(len(size))
    weight[largest] = 0
    # Without the minima of all runs: they have seen what is held out.
    theta = solve(problem.reweighted(weight), grid)[0][0]
    value, _ = problem.form.log_value(theta[None], points)
    miss = np.abs(np.expm1(value[0] - problem.log_loss))[largest]
    return {"mean": float(miss.mean()), "worst": float(miss.max()), "runs": held}


def _reach(runs: Runs, form: Form, over: str) -> dict[str, tuple[float, float]]:
    axes = {
        "N": runs.N,
        "D": runs.D,
        "flops": runs.flops,
        "epochs": runs.D / runs.U,
        "ratio": runs.D / runs.N,
    }
    used = {"x": (over,), "N": ("N",), "D": ("D",)}
    names = used[form.reads[0]] if len(form.reads) == 1 else ("N", "D", "flops", "ratio")
    if "U" in form.reads:
        names = (*names, "epochs")
    return {name: (float(axes[name].min()), float(axes[name].max())) for name in names}


def _figures(problem: Problem, best: tuple[Floats, float], runs: Runs) -> dict[str, Any]:
    value, _ = problem.form.log_value(best[0][None], problem.points)
    residual = value[0] - problem.log_loss
    loss = runs.loss
    spread = float(((loss - loss.mean()) ** 2).sum())
    r2 = 1 - float(((np.exp(value[0]) - loss) ** 2).sum()) / spread if spread else None
    rms = float(np.sqrt(np.mean(residual**2)))
    return {
        "runs": len(runs),
        "misfit": best[1] * problem.delta**2,
        "r2": r2,
        "rms": rms,
        "tied": tied(problem, best[0]),
    }


def overfitted(runs: Runs, factor: float) -> Any:
    """(n,) whether a run lost more than `factor` times what the published law of repeats gives it: its loss
    has risen again by over-fitting, which no law here describes. (The filter is mildly circular.)"""
    kind, params = PUBLISHED["data_constrained"]
    return runs.loss > factor * Law(kind, dict(params)).losses(runs.N, runs.D, runs.U)
