"""A plan as one HTML file that needs nothing else, with its whole curves drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.charts import Tick
from pipeline.report import _environment, clean
from pipeline.units import number, short, steps, tick_labels

if TYPE_CHECKING:
    from pipeline.budget.planner import Plan
    from pipeline.budget.settings import Settings

WIDTH, HEIGHT = 480.0, 220.0
ABOVE = 0.25  # of the least loss: what lies higher runs off the top
STOPS = 60  # places of a curve that answer to the pointer


@dataclass(frozen=True)
class Stop:
    """A place of a curve under the pointer."""

    left: float
    width: float
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A curve over a logarithmic axis, in the drawing's units."""

    title: str
    about: str
    path: str
    band: str
    best: tuple[float, float]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    stops: list[Stop]
    width: float = WIDTH
    height: float = HEIGHT


Row = tuple[float, float, float | None, float | None, str]  # x, loss, low, high, what the pointer shows


def drawing(title: str, about: str, rows: Sequence[Row], best: tuple[float, float]) -> Drawing:
    """Losses over a logarithmic axis; `best` is the recommended place."""
    least = min(row[1] for row in rows)
    shown = [row for row in rows if row[1] <= least * (1 + ABOVE)]
    ends = [v for row in shown for v in row[1:4] if v is not None and v <= least * (1 + ABOVE)]
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    first, last = math.log(shown[0][0]), math.log(shown[-1][0])

    def x(value: float) -> float:
        return WIDTH * (math.log(value) - first) / ((last - first) or 1.0)

    def y(value: float) -> float:
        return max(-20.0, HEIGHT * (high - value) / (high - low))

    points = [(x(row[0]), y(row[1])) for row in shown]
    sides = [(x(row[0]), y(row[2]), y(row[3])) for row in shown if row[2] is not None and row[3] is not None]
    band = [(a, top) for a, _, top in sides] + [(a, bottom) for a, bottom, _ in reversed(sides)]
    values = steps(low, high, 4)
    return Drawing(
        title, about, _path(points), _path(band) + "Z" if band else "", (x(best[0]), y(best[1])),
        _decades(shown[0][0], shown[-1][0], x),
        [Tick(y(v), t) for v, t in zip(values, tick_labels(values), strict=True)], _stops(shown, x, y),
    )  # fmt: skip


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _decades(low: float, high: float, x: Callable[[float], float]) -> list[Tick]:
    """Powers of ten, with 2 and 5 where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        values = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(values) >= 3:
            break
    return [Tick(x(v), short(v) if v >= 1000 else number(v)) for v in values]


def _stops(rows: Sequence[Row], x: Callable[[float], float], y: Callable[[float], float]) -> list[Stop]:
    chosen = rows[:: math.ceil(len(rows) / STOPS)]
    places = [x(row[0]) for row in chosen]
    middles = [0.0, *((a + b) / 2 for a, b in pairwise(places)), WIDTH]
    return [
        Stop(middles[i], middles[i + 1] - middles[i], places[i], y(row[1]), row[4])
        for i, row in enumerate(chosen)
    ]


def drawings(plan: Plan) -> list[Drawing]:
    """The loss over sizes, over epochs, and over the kept share of each pool with a curve."""
    by_size = [
        (r["N"], r["loss"], r["low"], r["high"],
         f"{short(r['N'])} parameters, {short(r['tokens'])} tokens, {r['epochs']:.3g} epochs: "
         f"{r['loss']:.4f}")
        for r in plan.table
    ]  # fmt: skip
    kept = sum(row["kept"] for row in plan.pools)
    by_epochs = sorted(
        {r["epochs"]: (r["epochs"], r["loss"], r["low"], r["high"],
         f"{r['epochs']:.3g} epochs, {short(r['N'])} parameters: {r['loss']:.4f}")
         for r in sorted(plan.table, key=lambda r: -r["loss"])}.values()
    )  # fmt: skip
    made = [drawing("Loss by model size", "parameters, at this budget", by_size, (plan.N, plan.loss))]
    if len(by_epochs) > 1:
        made.append(
            drawing(
                "Loss by epochs",
                "passes over what is kept, at this budget",
                by_epochs,
                (plan.tokens / kept, plan.loss),
            )
        )
    for name, table in plan.keep_table.items():
        rows: list[Row] = [
            (
                r["keep"],
                r["loss"],
                None,
                None,
                f"keep {r['keep']:.3g}, worth {r['worth']:.3g}, {short(r['N'])} parameters: {r['loss']:.4f}",
            )
            for r in table
        ]
        if len(rows) > 1:
            made.append(
                drawing(
                    f"Loss by kept share of {name}",
                    "each at its best size",
                    rows,
                    (plan.keep_fraction[name], plan.loss),
                )
            )
    return made


def render(plan: Plan, given: Settings) -> str:
    """The page as HTML."""
    view = {
        "law": clean(given.law_name), "form": given.law.form,
        "params": [(k, number(v)) for k, v in given.law.params.items()],
        "plan": plan, "pools": clean(plan.pools), "drawings": drawings(plan),
        "notes": clean(plan.notes), "warnings": clean(plan.warnings), "number": number,
    }  # fmt: skip
    return _environment().get_template("budget.html.j2").render(view)
