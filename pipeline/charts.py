"""Geometry of the report's charts: numbers in, coordinates out; the templates draw and escape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.units import count, number, steps, tick_labels

CROWDED = 12  # a bin this many times as high as the median one calls for square-root heights


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the drawing's units, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram: all rows behind, the kept ones before it; heights in the drawing's units."""

    x: float
    width: float
    all: float
    kept: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """A score column; `bins` is empty when it has no finite value, or only one."""

    name: str
    node: str
    summary: str
    bins: list[Bin] = field(default_factory=list)
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    root: bool = False
    width: float = 270
    height: float = 130


def histogram(score: Mapping[str, Any], width: float = 270, height: float = 130) -> Histogram:
    """A score column of the run data as a histogram; square-root heights when a few bins dwarf the rest."""
    edges = [float(e) for e in score.get("edges") or []]
    counts = [int(c) for c in score.get("counts") or []]
    kept = [int(k) for k in score.get("kept") or []] or [0] * len(counts)
    name, node = str(score.get("column", "")), str(score.get("node", ""))
    summary = _summary(score, sum(counts))
    one_value = score.get("min") is not None and score.get("min") == score.get("max")
    if one_value or len(edges) != len(counts) + 1 or not sum(counts) or not edges[-1] > edges[0]:
        return Histogram(name, node, summary)
    filled = sorted(c for c in counts if c)
    root = filled[-1] > CROWDED * filled[(len(filled) - 1) // 2]
    top = _lift(max(counts), root)
    cell, bins = width / len(counts), []
    for i, (c, k) in enumerate(zip(counts, kept, strict=True)):
        text = f"{number(edges[i])} to {number(edges[i + 1])}: {count(c)} rows, {count(k)} kept"
        bins.append(Bin(i * cell, cell, height * _lift(c, root) / top, height * _lift(k, root) / top, text))
    y_values = [v for v in steps(0, max(counts), 3) if v]
    labels = tick_labels(y_values)
    y_ticks = [Tick(height - height * _lift(v, root) / top, t) for v, t in zip(y_values, labels, strict=True)]
    return Histogram(name, node, summary, bins, _value_ticks(edges, width), y_ticks, root, width, height)


def _lift(value: float, root: bool) -> float:
    return math.sqrt(value) if root else float(value)


def _value_ticks(edges: Sequence[float], width: float) -> list[Tick]:
    """Round values for even bins, else the edges of every sixteenth bin."""
    low, high, bins = edges[0], edges[-1], len(edges) - 1
    even = (high - low) / bins
    if all(abs(edges[i] - low - i * even) <= 1e-3 * even for i in range(bins + 1)):
        values = steps(low, high, 4)
        return [
            Tick(width * (v - low) / (high - low), t)
            for v, t in zip(values, tick_labels(values), strict=True)
        ]
    return [Tick(width * i / bins, number(edges[i])) for i in range(0, bins + 1, max(1, bins // 4))]


def _summary(score: Mapping[str, Any], finite: int) -> str:
    nulls, infinite = int(score.get("nulls") or 0), score.get("infinite")
    parts = [f"{count(finite)} rows with a value"]
    if finite:
        low, high, mean = (number(score.get(k)) for k in ("min", "max", "mean"))
        parts.append(f"{low} to {high}, mean {mean}" if low != high else f"all {low}")
    if infinite is not None:
        parts += [f"{count(nulls)} null", f"{count(infinite)} infinite or NaN"]
    else:
        parts.append(f"{count(nulls) if nulls else 'none'} null, infinite or NaN")
    return "; ".join(parts)
