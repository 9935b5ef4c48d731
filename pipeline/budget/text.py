"""Laws and plans as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.budget.diagnose import interval, moved_by
from pipeline.budget.law import Law
from pipeline.units import NONE, number, short

if TYPE_CHECKING:
    from pipeline.budget.planner import Plan
    from pipeline.budget.runs import Runs
    from pipeline.budget.settings import Settings


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their cells under each other, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def law_text(law: Law, runs: Runs) -> str:
    """The constants with their intervals, the figures of the fit, its warnings."""
    figures = law.figures
    lines = [f"{law.kind}: {law.form.formula}", f"  {law.form.source}; {figures['runs']} runs"]
    if law.dropped:
        lines.append(f"  left out, worst first: {', '.join(runs.names[row] for row in law.dropped)}")
    rows = [["constant", "value", "95 % interval"]]
    for name, value in law.params.items():
        ends = law.ci.get(name)
        rows.append(
            [
                name,
                number(value),
                interval(value, ends) if ends else "fixed" if law.ci else NONE,
            ]
        )
    lines += _columns(rows)
    r2 = number(figures["r2"]) if figures["r2"] is not None else NONE
    lines.append(f"  misfit {figures['misfit']:.3e}, R² {r2}, RMS of log loss {figures['rms']:.4f}")
    if law.holdout_error:
        held = law.holdout_error
        lines.append(
            f"  the {held['runs']} largest runs, held out: off by {held['mean']:.2%} on average, "
            f"{held['worst']:.2%} at most"
        )
    for row in law.leverage.get("single", [])[:3]:
        changes = ", ".join(f"{name} {moved_by(change)}" for name, change in row["changes"].items())
        lines.append(f"  without {row['run']}: {changes}")
    lines += [f"  warning: {warning}" for warning in law.warnings]
    return "\n".join(lines)


def chosen_text(tried: Mapping[str, Law]) -> str:
    """The error of each law on the largest runs, the least first."""
    errors = {kind: law.holdout_error["mean"] for kind, law in tried.items() if law.holdout_error}
    order = sorted(errors, key=lambda kind: errors[kind])
    rows = [["law", "held-out error", "misfit"]]
    rows += [[kind, f"{errors[kind]:.2%}", f"{tried[kind].figures['misfit']:.3e}"] for kind in order]
    return "\n".join(["laws by their error on the largest runs:", *_columns(rows)])


def groups_text(laws: Mapping[str, Law], group: str) -> str:
    """The exponents of each group side by side, and which differ."""
    first = next(iter(laws.values()))
    names = list(first.form.exponents)
    rows = [[group, *names]]
    for value, law in laws.items():
        cells = [
            f"{number(law.params[n])} ({interval(law.params[n], law.ci[n])})"
            if n in law.ci
            else number(law.params[n])
            for n in names
        ]
        rows.append([value, *cells])
    lines = ["the groups:", *_columns(rows)]
    for name in names:
        known = {value: law.ci[name] for value, law in laws.items() if name in law.ci}
        if len(known) > 1:
            apart = max(low for low, _ in known.values()) > min(high for _, high in known.values())
            lines.append(
                f"  {name}: "
                + ("some intervals are apart" if apart else "no difference is shown: all intervals overlap")
            )
    return "\n".join(lines)


def plan_text(plan: Plan, given: Settings) -> str:
    """The recommendation, the pools, the caveats."""
    interval = f" ({plan.low:.4f} to {plan.high:.4f})" if plan.low is not None else ""
    sizes = f" ({short(plan.N_low)} to {short(plan.N_high)})" if plan.N_low is not None else ""
    lines = [f"{number(plan.flops['budget'])} FLOPs by {given.law_name}:"]
    lines += _columns([
        ["model", f"{short(plan.N)} parameters{sizes}"],
        ["tokens", f"{short(plan.tokens)}, {plan.tokens / plan.N:.3g} a parameter"],
        ["loss", f"{plan.loss:.4f}{interval}"],
        ["training", f"{number(plan.flops['training'])} FLOPs"],
        ["scoring", f"{number(plan.flops['scoring'])} FLOPs"],
    ])  # fmt: skip
    rows = [["pool", "unique", "keep", "kept", "worth", "epochs", "tokens"]]
    rows += [
        [row["name"], short(row["unique"]), f"{row['keep_fraction']:.3g}", short(row["kept"]),
         number(row["worth"]), f"{row['epochs']:.3g}", short(row["tokens"])]
        for row in plan.pools
    ]  # fmt: skip
    lines += ["pools:", *_columns(rows)]
    if any(row["keep_fraction"] < 1 for row in plan.pools):
        rest = plan.everything
        lines.append(
            f"keeping everything: {short(rest['N'])} parameters, {short(rest['tokens'])} tokens, "
            f"loss {rest['loss']:.4f} ({rest['loss'] - plan.loss:+.4f})"
        )
    lines += [f"warning: {warning}" for warning in plan.warnings]
    lines += [f"mind: {note}" for note in plan.notes]
    return "\n".join(lines)
