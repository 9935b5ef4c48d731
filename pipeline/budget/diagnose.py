"""Which runs a fit hangs on, and what its user should be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.budget.laws import Floats, Form
from pipeline.budget.runs import Runs
from pipeline.budget.solve import Problem, minimise
from pipeline.units import number

if TYPE_CHECKING:
    from pipeline.budget.law import Law

GROUP = 0.02  # of the runs, which are left out together
MOVED = 0.1  # relative change of an exponent by so few runs that is warned of
LOOSE = 10.0  # ratio of the ends of an interval from which a constant counts as not identified
SHOWN = 10  # single runs
ENDLESS = 1e6  # times a constant, or one where that is less: an end of an interval beyond it is none
ALIKE = 1e-9  # singular value, of the greatest, below which a direction is flat


def leverage(problem: Problem, theta: Floats, runs: Runs) -> dict[str, Any]:
    """What leaving runs out does to the exponents, as relative changes, by refitting from theta (P,)."""
    form = problem.form
    index = [form.params.index(name) for name in form.exponents if form.params.index(name) in problem.free]
    if not index or len(runs) <= len(problem.free) + 1:
        return {"single": [], "group": None}
    base = form.natural(theta)[index]

    def without(rows: Sequence[int]) -> Floats:
        weight = problem.weight.copy()
        weight[list(rows)] = 0
        found = form.natural(minimise(problem.reweighted(weight), theta)[0])[index]
        return np.asarray(found / base - 1)

    change = np.array([without([i]) for i in range(len(runs))])
    size = np.abs(change).max(axis=1)
    names = [form.params[i] for i in index]
    single = [
        {"run": runs.names[i], "row": int(i), "changes": _named(names, change[i])}
        for i in np.argsort(-size, kind="stable")[:SHOWN]
    ]
    count = max(1, math.ceil(GROUP * len(runs)))
    if len(runs) - count < len(problem.free) + 1:
        return {"single": single, "group": None}
    groups = {tuple(sorted(_worst_in_turn(problem, theta, count)))}
    groups |= {
        tuple(sorted(np.argsort(s * change[:, j])[:count].tolist()))
        for j in range(len(names))
        for s in (-1, 1)
    }
    moved = {rows: without(rows) for rows in sorted(groups)}
    rows = max(moved, key=lambda rows: float(np.abs(moved[rows]).max()))
    found = {"rows": [int(i) for i in rows], "runs": [runs.names[i] for i in rows]}
    return {"single": single, "group": {**found, "changes": _named(names, moved[rows])}}


def _named(names: Sequence[str], change: Floats) -> dict[str, float]:
    return {name: float(np.nan_to_num(c, posinf=1e300)) for name, c in zip(names, change, strict=True)}


def _worst_in_turn(problem: Problem, theta: Floats, count: int) -> list[int]:
    """So many runs, one by one, each the one that the fit to the others misses most."""
    weight, rows = problem.weight.copy(), []
    for _ in range(count):
        value, _ = problem.form.log_value(theta[None], problem.points)
        rows.append(int(np.argmax(np.abs(value[0] - problem.log_loss) * (weight > 0))))
        weight[rows[-1]] = 0
        theta = minimise(problem.reweighted(weight), theta)[0]
    return rows


def tied(problem: Problem, theta: Floats) -> list[str]:
    """Constants that may change together, or alone, without any run being met worse or better: the runs say
    nothing of them. A bootstrap does not show that: every refit stays where it began."""
    _, gradient = problem.form.log_value(theta[None], problem.points)
    slopes = np.nan_to_num(gradient[0][:, problem.free])
    size = np.sqrt((slopes**2).sum(axis=0))
    names = [problem.form.params[i] for i in problem.free]
    if not names or not size.max() > 0:
        return names
    scaled = slopes / np.where(size > ALIKE * size.max(), size, 1)
    _, values, directions = np.linalg.svd(scaled, full_matrices=False)
    flat = directions[values < ALIKE * values[0]]
    return [name for name, loads in zip(names, np.abs(flat).T, strict=True) if np.any(loads > 0.1)]


def warnings_of(law: Law, free: int, form: Form) -> list[str]:
    """Sentences, the gravest first."""
    found = []
    group = law.leverage.get("group")
    if group:
        name, change = max(group["changes"].items(), key=lambda pair: abs(pair[1]))
        if abs(change) > MOVED:
            share = f"{len(group['rows']) / law.figures['runs']:.1%}"
            before, after = law.params[name], law.params[name] * (1 + change)
            found.append(
                f"few runs carry the fit: without {_list(group['runs'])} ({share} of the runs) {name} goes "
                f"from {number(before)} to {number(after)} ({moved_by(change)}); "
                f"look at them, and compare with --drop-outliers {len(group['rows'])}"
            )
    for name, (low, high) in law.ci.items():
        if name in form.exponents and name not in form.plain and not high <= LOOSE * low:
            ends = interval(law.params[name], (low, high))
            found.append(f"{name} is not identified by these runs: its interval is {ends}")
    if names := law.figures["tied"]:
        what = f"cannot tell {', '.join(names)} apart" if len(names) > 1 else f"say nothing of {names[0]}"
        found.append(f"the runs {what}: they must differ in all that the law depends on")
    held = law.holdout_error
    if held and held["mean"] > max(3 * law.figures["rms"], 0.01):
        found.append(
            f"the {held['runs']} largest runs, held out, are missed by {held['mean']:.1%} on average; the "
            f"fit meets the runs it saw within {law.figures['rms']:.1%}"
        )
    if held is None:
        found.append("too few runs to hold the largest out: nothing says how the law extrapolates")
    if law.figures["runs"] < 3 * free:
        found.append(f"{law.figures['runs']} runs for {free} parameters; at least {3 * free} are advisable")
    return found


def interval(value: float, ends: tuple[float, float]) -> str:
    """The ends of an interval about a constant; those that are millions of times off are told as 0 and ∞."""
    low, high = ends
    least = "0" if 0 < low * ENDLESS < min(value, 1.0) else number(low)
    return f"{least} to {'∞' if high > ENDLESS * max(value, 1.0) else number(high)}"


def moved_by(change: float) -> str:
    """A relative change; as a factor where per cents say little."""
    return f"{change:+.1%}" if abs(change) < 2 else f"times {number(1 + change)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
