"""What a plan should be read with: the caveats of its law, the regime of its data, where it extrapolates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.budget.law import Law
from pipeline.budget.outlook import ASSUMED
from pipeline.budget.pools import Pool
from pipeline.units import number, short

if TYPE_CHECKING:
    from pipeline.budget.planner import Plan

# The rule of `pruning_regime`: rows, here unique tokens, a parameter.
MANY, FEW = 10.0, 3.0
LIGHT_EPOCHS = 5.0  # up to which the measured penalty is told


def regime(per_parameter: float) -> str:
    """Which examples to keep, by the data there is for each parameter (Sorscher et al. 2022)."""
    side = (
        "many: among equally clean documents keep the hard ones"
        if per_parameter >= MANY
        else "few: keep the easy ones; hard ones teach less than random ones here"
        if per_parameter <= FEW
        else "between few and many: random ones may be as good as hard or easy ones"
    )
    return (
        f"{per_parameter:.3g} unique tokens a parameter, {side} (a rule of rows of perceptrons; "
        f"let a proxy run confirm it for text)"
    )


def notes_of(plan: Plan, law: Law, pools: Sequence[Pool], most_epochs: float) -> list[str]:
    """Caveats that hold whatever the numbers are, only those that touch this plan."""
    unique = sum(min(row["kept"], row["tokens"]) for row in plan.pools)
    found = [regime(unique / plan.N)]
    most = max(plan.epochs.values())
    if most > 1:
        found.append(
            f"repeats: up to {most:.3g} epochs. R_D* is weakly identified (11.8 to 15.4 on the published "
            f"runs depending on which are left out, without bound on all of them)"
        )
        if most <= LIGHT_EPOCHS:
            found.append(
                "four epochs cost .6 % of the loss as measured (2.8 to 8.7 billion parameters); "
                "the law says .7 to 1.0 %"
            )
        if "R_D" not in law.params:
            also = f" and R_N* = {ASSUMED['R_N']:.3g}" if law.kind == "chinchilla" else ""
            found.append(
                f"{law.kind} says nothing of repeats: R_D* = {ASSUMED['R_D']:.3g}{also}, as published"
            )
    if len(pools) > 1:
        found.append(
            "pools count as one kind of text beside their worth; what a mixture does to the test "
            "is not in the law"
        )
    unmeasured = [pool.name for pool in pools if pool.keep_curve is None and pool.multiplier == 1]
    if unmeasured:
        found.append(
            f"no keep curve for {', '.join(unmeasured)}: all of it is kept, a token counts as one of "
            f"the law's data"
        )
    if law.kind.startswith("kaplan"):
        found.append("Kaplan's N leaves the embeddings out")
    return found


def plan_warnings(plan: Plan, law: Law, pools: Sequence[Pool], most_epochs: float) -> list[str]:
    """What may make the plan wrong, extrapolation first."""
    unique = sum(min(row["kept"], row["tokens"]) for row in plan.pools)
    found = [*law.warns(plan.N, plan.tokens, unique), *(f"of the law: {text}" for text in law.warnings)]
    smallest = plan.table[0]["N"] if plan.table else 0.0
    if smallest * 1.001 >= plan.N:
        found.append(
            "the smallest size that was looked at is the best: the budget is far larger than the pools"
        )
    if plan.flops["unspent"] > 0.01 * plan.flops["budget"]:
        found.append(
            f"{plan.flops['unspent'] / plan.flops['budget']:.0%} of the FLOPs stay unspent: {most_epochs:g} "
            f"epochs of all pools are {short(plan.tokens)} tokens; more tokens or --max-epochs are worth "
            "more than compute"
        )
    if plan.flops["scoring"] == 0 and any(keep < 1 for keep in plan.keep_fraction.values()):
        found.append("scoring is taken to be free; say what scores the pools with --score-params")
    for pool in pools:
        keep, curve = plan.keep_fraction[pool.name], pool.keep_curve
        if curve is None or keep == 1:
            continue
        if keep == curve.keep[0]:
            found.append(
                f"{pool.name}: {keep:.3g} is the smallest share that was measured; "
                f"a smaller one may be better"
            )
        noise, gain = curve.noise(keep), abs(math.log(pool.worth(keep) / pool.multiplier))
        if noise is None:
            found.append(
                f"{pool.name}: one proxy run a share, so that nothing says how sure "
                f"q = {number(pool.worth(keep))} is"
            )
        elif gain < 2 * noise:
            found.append(
                f"{pool.name}: q at {keep:.3g} differs from 1 by less than two standard errors of the proxies"
            )
    return found
