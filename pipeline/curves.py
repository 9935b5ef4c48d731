"""Geometry of the training charts: losses or accuracies of the arms, and their differences to random."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from pipeline.charts import Tick
from pipeline.measures import axis, measure_of
from pipeline.units import short, steps, tick_labels
from pipeline.verdict import (
    DIFFERENCE,
    ERROR,
    MEANS,
    PLACEBO,
    RANDOM,
    errors_needed,
    judge,
    plus_minus,
    title_of,
)

EARLY = 0.15  # the share of the tokens whose loss may run off the top of a panel
MOST_STOPS = 48  # points of a curve that answer to the pointer
STYLES = 6  # colours and dash patterns for arms beside random and the placebo


@dataclass(frozen=True)
class Arm:
    """One arm: its name and the number of its colour and dash pattern: 0 random, 1 placebo, then the rest."""

    name: str
    style: int


@dataclass(frozen=True)
class Line:
    """One arm in one panel: the mean as an SVG path, the spread over seeds as another."""

    arm: Arm
    path: str
    band: str


@dataclass(frozen=True)
class Stop:
    """A place on the token axis: what every arm had there, the best first."""

    x: float
    left: float
    right: float
    title: str
    values: list[tuple[Arm, float, str]]


@dataclass(frozen=True)
class Panel:
    """The curves of all arms on one domain."""

    domain: str
    title: str
    lines: list[Line]
    stops: list[Stop]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    clipped: bool
    width: float
    height: float


def arms_of(train: Mapping[str, Any]) -> list[Arm]:
    """Arms with their styles: random and placebo neutral, the others coloured in order."""
    names = list(train.get("arms") or {})
    fixed = {RANDOM: 0, PLACEBO: 1}
    others = iter(range(2, 2 + len(names)))
    return [Arm(name, fixed[name] if name in fixed else 2 + (next(others) - 2) % STYLES) for name in names]


def panels(train: Mapping[str, Any], width: float = 270, height: float = 150) -> list[Panel]:
    """One panel for the mean over domains, one for all text, one for every domain."""
    arms = arms_of(train)
    domains = list(dict.fromkeys(d for a in arms for p in _curve(train, a) for d in p.get("domains") or {}))
    wanted = [*(MEANS if len(domains) != 1 else ()), *domains]
    drawn = [_panel(train, arms, domain, width, height) for domain in wanted]
    return [panel for panel in drawn if panel is not None]


def _curve(train: Mapping[str, Any], arm: Arm) -> list[Mapping[str, Any]]:
    return list(train["arms"][arm.name].get("curve") or [])


def point(entry: Mapping[str, Any], domain: str) -> Any:
    """The losses of a domain, or of a mean, at one point of a curve: mean and std over seeds, or a number."""
    return entry.get(domain) if domain in MEANS else (entry.get("domains") or {}).get(domain)


Scale = Callable[[float], float]
Points = list[tuple[float, float, float]]  # tokens, mean, standard deviation over seeds


def _points(train: Mapping[str, Any], arm: Arm, domain: str) -> Points:
    result: Points = []
    for entry in _curve(train, arm):
        cell = point(entry, domain)
        if cell is not None and cell.get("mean") is not None and math.isfinite(cell["mean"]):
            spread = float(cell.get("std") or 0.0)
            result.append(
                (float(entry["tokens"]), float(cell["mean"]), spread if math.isfinite(spread) else 0.0)
            )
    return result


def _panel(
    train: Mapping[str, Any], arms: Sequence[Arm], domain: str, width: float, height: float
) -> Panel | None:
    series = {arm: points for arm in arms if (points := _points(train, arm, domain))}
    if not series:
        return None
    start, end = (f(p[0] for points in series.values() for p in points) for f in (min, max))
    higher = measure_of(train).higher
    low, high, clipped = _range(series, 0.0 if higher else end)
    span = (end - start) or 1.0

    def x(tokens: float) -> float:
        return width * (tokens - start) / span

    def y(loss: float) -> float:
        return height * (high - loss) / (high - low)

    lines = [
        Line(arm, *_paths([(x(t), y(m), height * s / (high - low)) for t, m, s in p]))
        for arm, p in series.items()
    ]
    values = steps(low, high, 4)
    y_ticks = [Tick(y(v), label) for v, label in zip(values, tick_labels(values), strict=True)]
    tokens = steps(start, end, 3)
    x_ticks = [Tick(x(t), label) for t, label in zip(tokens, tick_labels(tokens), strict=True)]
    stops = _stops(series, x, y, width, axis(train), higher)
    return Panel(domain, title_of(domain), lines, stops, x_ticks, y_ticks, clipped, width, height)


def _range(series: Mapping[Arm, Points], end: float) -> tuple[float, float, bool]:
    """The values to show: all of them after the first steps, so that the end can be told apart."""
    everything = [p for points in series.values() for p in points]
    late = [p for p in everything if p[0] >= EARLY * end] or everything
    low, high = min(m - s for _, m, s in late), max(m + s for _, m, s in late)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    return low, high, any(m > high for _, m, _ in everything)


def _paths(points: Sequence[tuple[float, float, float]]) -> tuple[str, str]:
    """The line through (x, y) and the band of y ± spread, as SVG path data."""

    def path(places: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)

    upper = [(a, b - s) for a, b, s in points]
    lower = [(a, b + s) for a, b, s in reversed(points)]
    return path([(a, b) for a, b, _ in points]), path(upper + lower) + "Z"


def _stops(
    series: Mapping[Arm, Points], x: Scale, y: Scale, width: float, unit: str, higher: bool
) -> list[Stop]:
    places = sorted({t for points in series.values() for t, _, _ in points})
    skip = math.ceil(len(places) / MOST_STOPS)
    places = places[::-1][::skip][::-1]
    middles = [(x(a) + x(b)) / 2 for a, b in pairwise(places)]
    result = []
    for t, left, right in zip(places, [0.0, *middles], [*middles, width], strict=True):
        here = [(arm, m) for arm, points in series.items() for at, m, _ in points if at == t]
        here.sort(key=lambda item: item[1], reverse=higher)
        title = f"{short(t)} {unit}"
        result.append(Stop(x(t), left, right, title, [(a, y(m), f"{m:.3f}") for a, m in here]))
    return result


@dataclass(frozen=True)
class Mark:
    """A paired difference to random with its 95 % interval."""

    arm: Arm
    x: float
    left: float
    right: float
    y: float
    verdict: str
    text: str


@dataclass(frozen=True)
class Forest:
    """Differences to random, a row for every domain."""

    rows: list[tuple[float, str, str, list[Mark]]]  # y of the row's middle, domain, title, marks
    ticks: list[Tick]
    zero: float
    width: float
    height: float


def forest(train: Mapping[str, Any], width: float, pitch: float = 15) -> Forest | None:
    """The final differences to random, arm by arm, `pitch` apart; None when nothing was compared."""
    paired = train.get("paired") or {}
    arms = [a for a in arms_of(train) if paired.get(a.name)]
    domains = _forest_domains([d for a in arms for d in paired[a.name]])
    cells = [c for d in domains for a in arms if _is_number(c := paired[a.name].get(d))]
    if not cells:
        return None
    ends = [0.0, *(c[DIFFERENCE] + sign * _error(c) for c in cells for sign in (-1, 1))]
    pad = 0.04 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - pad, max(ends) + pad

    def x(value: float) -> float:
        return width * (value - low) / (high - low)

    unit = measure_of(train).unit
    tall = pitch * len(arms) + 14
    rows = []
    for i, domain in enumerate(domains):
        lanes = [
            (arm, paired[arm.name].get(domain), i * tall + 7 + pitch * (j + 0.5))
            for j, arm in enumerate(arms)
        ]
        marks = [_mark(arm, domain, cell, x, y, unit) for arm, cell, y in lanes if _is_number(cell)]
        rows.append(((i + 0.5) * tall, domain, title_of(domain), marks))
    values = steps(low, high, min(6, int(width / 55)))
    labels = [f"+{t}" if v > 0 and t != "0" else t for v, t in zip(values, tick_labels(values), strict=True)]
    ticks = [Tick(x(v), label) for v, label in zip(values, labels, strict=True)]
    return Forest(rows, ticks, x(0.0), width, tall * len(domains))


def _forest_domains(names: Sequence[str]) -> list[str]:
    """The means first, unless there is only one domain, then the domains in the order in which they come."""
    domains = [d for d in dict.fromkeys(names) if d not in MEANS]
    return [*(m for m in MEANS if m in names and len(domains) != 1), *domains]


def _mark(arm: Arm, domain: str, cell: Mapping[str, Any], x: Scale, y: float, unit: str) -> Mark:
    difference, error = cell[DIFFERENCE], _error(cell)
    text = f"{arm.name} on {title_of(domain)}: {plus_minus(cell)} {unit}"
    side = judge(cell)
    return Mark(arm, x(difference), x(difference - error), x(difference + error), y, side, text)


def _is_number(cell: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    return cell is not None and cell.get(DIFFERENCE) is not None and math.isfinite(cell[DIFFERENCE])


def _error(cell: Mapping[str, Any]) -> float:
    error = cell.get(ERROR)
    return errors_needed(cell.get("n")) * float(error) if error is not None and math.isfinite(error) else 0.0
