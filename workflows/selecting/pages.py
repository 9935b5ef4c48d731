"""Studies of selectors as one HTML page that needs nothing else: differences to random rows, and curves."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pipeline.charts import Tick
from pipeline.units import steps, tick_labels
from workflows.selecting.results import Comparison
from workflows.selecting.statistics import ERRORS, LOSES, TIES, UNKNOWN, WINS, Estimate

PITCH = 20
ROWS = "labelled rows"
NEUTRAL, FAINT, STRONG = 0, 1, 2  # the report's styles of lines: random rows, controls, selectors
PAGE = """\
{% macro x_axis(ticks, height) %}
{% for t in ticks %}<text x="{{ t.at | f }}" y="{{ height + 16 }}" text-anchor="middle">{{ t.label }}</text>
{% endfor %}
{% endmacro %}
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{% include "report.css" %}</style></head>
<body><main><h1>{{ title }}</h1><p class="about">{{ about }}</p>
{% for f in forests %}
<figure class="card wide"><figcaption><b>{{ f.title }}</b><span class="quiet">{{ f.note }}</span></figcaption>
<svg class="chart" viewBox="-210 -26 {{ f.width + 250 }} {{ f.height + 50 }}" role="img"
 aria-label="{{ f.title }}; {{ f.note }}">
<text x="{{ (f.zero - 8) | f }}" y="-12" text-anchor="end">\N{LEFTWARDS ARROW} worse than random</text>
<text x="{{ (f.zero + 8) | f }}" y="-12">better \N{RIGHTWARDS ARROW}</text>
{% for t in f.ticks %}
<line class="grid" x1="{{ t.at | f }}" x2="{{ t.at | f }}" y1="0" y2="{{ f.height }}"/>
{% endfor %}
{{ x_axis(f.ticks, f.height) }}
<line class="base" x1="{{ f.zero | f }}" x2="{{ f.zero | f }}" y1="-4" y2="{{ f.height }}"/>
{% for k in f.marks %}<g><title>{{ k.text }}</title>
<text{{ ' class=strong' if k.style == 2 }} x="-12" y="{{ (k.y + 4) | f }}" text-anchor="end">
{{ k.name }}</text>
<line class="line thin arm-{{ k.style }}" x1="{{ k.left | f }}" x2="{{ k.right | f }}"
 y1="{{ k.y | f }}" y2="{{ k.y | f }}"/>
<circle class="point{{ '' if k.clear else ' hollow' }} arm-{{ k.style }}" cx="{{ k.x | f }}"
 cy="{{ k.y | f }}" r="4"/></g>
{% endfor %}</svg></figure>
{% endfor %}
{% if panels %}<p class="legend">{% for name, style in legend %}
<span><svg class="swatch" width="26" height="10" aria-hidden="true">
<line class="line arm-{{ style }}" x1="1" x2="25" y1="5" y2="5"/></svg>{{ name }}</span>{% endfor %}
<span class="quiet">over {{ axis }}; line: mean over seeds, band: one standard error</span></p>
<div class="cards">{% for p in panels %}
<figure class="card"><figcaption><b>{{ p.title }}</b></figcaption>
<svg class="chart" viewBox="-44 -8 {{ p.width + 54 }} {{ p.height + 30 }}" role="img"
 aria-label="{{ p.title }}">
{% for t in p.y_ticks %}<line class="grid" x1="0" x2="{{ p.width }}" y1="{{ t.at | f }}" y2="{{ t.at | f }}"/>
<text x="-7" y="{{ (t.at + 3.6) | f }}" text-anchor="end">{{ t.label }}</text>{% endfor %}
<line class="base" x1="0" x2="{{ p.width }}" y1="{{ p.height }}" y2="{{ p.height }}"/>
{{ x_axis(p.x_ticks, p.height) }}
{% for l in p.lines %}<path class="band arm-{{ l.style }}" d="{{ l.band }}"/>
<path class="line arm-{{ l.style }}" d="{{ l.path }}"><title>{{ l.name }}</title></path>{% endfor %}
</svg></figure>{% endfor %}</div>{% endif %}
{% for text in texts %}<pre>{{ text }}</pre>{% endfor %}
</main></body></html>
"""


@dataclass(frozen=True)
class Mark:
    """A paired difference and the interval of 2 standard errors around it, in the drawing's units."""

    name: str
    x: float
    left: float
    right: float
    y: float
    style: int
    clear: bool
    text: str


@dataclass(frozen=True)
class Forest:
    """The differences of all selectors to random rows, one below the other."""

    title: str
    note: str
    marks: list[Mark]
    ticks: list[Tick]
    zero: float
    width: float
    height: float


@dataclass(frozen=True)
class Curve:
    """A line and the band of one standard error around it, as SVG paths."""

    name: str
    style: int
    path: str
    band: str


@dataclass(frozen=True)
class Panel:
    """Curves over the number of labelled rows."""

    title: str
    lines: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: float
    height: float


def forest(one: Comparison, width: float = 760) -> Forest:
    """One comparison, in the order of its lines."""
    ends = [0.0]
    for line in one.lines:
        ends += [line.gain.mean - _whisker(line.gain), line.gain.mean + _whisker(line.gain)]
    pad = 0.04 * (max(ends) - min(ends)) or 0.01
    low, high = min(ends) - pad, max(ends) + pad

    def x(value: float) -> float:
        return width * (value - low) / (high - low)

    marks = []
    for i, line in enumerate(one.lines):
        gain, error = line.gain, _whisker(line.gain)
        text = f"{line.name}: {line.value.text()}, minus random {gain.text(signed=True)}: {gain.verdict}"
        style, clear = FAINT if line.control else STRONG, gain.verdict not in (TIES, UNKNOWN)
        left, right = x(gain.mean - error), x(gain.mean + error)
        marks.append(Mark(line.name, x(gain.mean), left, right, PITCH * (i + 0.5), style, clear, text))
    values = steps(low, high, 6)
    labels = [f"+{t}" if v > 0 and t != "0" else t for v, t in zip(values, tick_labels(values), strict=True)]
    ticks = [Tick(x(v), label) for v, label in zip(values, labels, strict=True)]
    verdicts = [line.gain.verdict for line in one.lines if not line.control]
    counts = {what: verdicts.count(what) for what in (WINS, LOSES, TIES)}
    note = f"random {one.random.text()}; " + ", ".join(f"{n} {what}" for what, n in counts.items())
    title = f"{one.task}, {one.protocol}, {one.labels} labels, {one.measure}"
    return Forest(title, note, marks, ticks, x(0.0), width, PITCH * len(one.lines))


def _whisker(gain: Estimate) -> float:
    return ERRORS * gain.error if math.isfinite(gain.error) else 0.0


def panel(
    title: str, series: Mapping[str, Sequence[tuple[int, Estimate]]], styles: Mapping[str, int],
    width: float = 270, height: float = 150,
) -> Panel:  # fmt: skip
    """Curves by name, each (labels, estimate) after the other."""
    points = [(n, one) for curve in series.values() for n, one in curve]
    start, end = min(n for n, _ in points), max(n for n, _ in points)
    spread = [(one.mean, one.error if math.isfinite(one.error) else 0.0) for _, one in points]
    low, high = min(m - e for m, e in spread), max(m + e for m, e in spread)
    pad = 0.06 * (high - low) or 0.01
    low, high = low - pad, high + pad

    def x(labels: float) -> float:
        return width * (labels - start) / ((end - start) or 1)

    def y(value: float) -> float:
        return height * (high - value) / (high - low)

    lines = []
    for name, curve in series.items():
        mid = [(x(n), y(one.mean)) for n, one in curve]
        errors = [one.error if math.isfinite(one.error) else 0.0 for _, one in curve]
        above = [(x(n), y(one.mean + e)) for (n, one), e in zip(curve, errors, strict=True)]
        below = [(x(n), y(one.mean - e)) for (n, one), e in zip(curve, errors, strict=True)]
        lines.append(Curve(name, styles.get(name, STRONG), _path(mid), _path([*above, *below[::-1]]) + "Z"))
    x_values, y_values = steps(start, end, 3), steps(low, high, 4)
    x_ticks = [Tick(x(v), t) for v, t in zip(x_values, tick_labels(x_values), strict=True)]
    y_ticks = [Tick(y(v), t) for v, t in zip(y_values, tick_labels(y_values), strict=True)]
    return Panel(title, lines, x_ticks, y_ticks, width, height)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)


def warm_panels(compared: Sequence[Comparison], measure: str = "logistic") -> list[Panel]:
    """A panel for each selector of the warm protocol, beside random rows."""
    cells = [one for one in compared if one.protocol == "warm" and one.measure == measure]
    found = []
    for task in dict.fromkeys(one.task for one in cells):
        own = [one for one in cells if one.task == task]
        names = [line.name for line in own[-1].lines] if own else []
        for name in names:
            curve = [(one.labels, line.value) for one in own for line in one.lines if line.name == name]
            series = {"random": [(one.labels, one.random) for one in own], name: curve}
            style = FAINT if next(line.control for line in own[-1].lines if line.name == name) else STRONG
            found.append(panel(f"{task}: {name}", series, {"random": NEUTRAL, name: style}))
    return found


def write_page(file: Path, compared: Sequence[Comparison], text: str, seeds: int) -> None:
    """The page of a comparison: the largest budgets of each protocol by both classifiers, and curves."""
    shown = [one for one in compared if one.measure in ("logistic", "knn") and len(one.lines)]
    last = {(one.task, one.protocol): one.labels for one in shown if one.protocol == "warm"}
    forests = [forest(o) for o in shown if last.get((o.task, o.protocol), o.labels) == o.labels]
    about = (
        "Accuracy of a classifier of the chosen rows on held-out ones, minus that of random rows on the same "
        f"of {seeds} seeds; whiskers are 2 standard errors, hollow marks cannot be told from random rows."
    )
    legend = [("random rows", NEUTRAL), ("selector", STRONG), ("control", FAINT)]
    view = {"forests": forests, "panels": warm_panels(compared), "legend": legend, "texts": [text]}
    save(file, _page().render(title="Selectors against random rows", about=about, axis=ROWS, **view))


def write_curves(
    file: Path, title: str, about: str, panels: Sequence[Panel], legend: Mapping[str, int]
) -> None:
    """A page of curves alone."""
    view = {"forests": [], "panels": list(panels), "legend": list(legend.items()), "texts": []}
    save(file, _page().render(title=title, about=about, axis=ROWS, **view))


def write_forests(
    file: Path, title: str, about: str, forests: Sequence[tuple[str, Forest]], text: str
) -> None:
    """A page of differences alone, each with a title of its own."""
    named = [replace(one, title=name) for name, one in forests]
    view = {"forests": named, "panels": [], "legend": [], "texts": [text]}
    save(file, _page().render(title=title, about=about, **view))


def write_compared(
    file: Path, title: str, about: str, forests: Sequence[tuple[str, Forest]], panels: Sequence[Panel],
    legend: Mapping[str, int], texts: Sequence[str], axis: str,
) -> None:  # fmt: skip
    """A page of differences, each with a title of its own, and of curves over `axis`."""
    named = [replace(one, title=name) for name, one in forests]
    view = {"forests": named, "panels": list(panels), "legend": list(legend.items()), "texts": list(texts)}
    save(file, _page().render(title=title, about=about, axis=axis, **view))


def save(file: Path, text: str) -> None:
    """All of it or nothing."""
    waiting = file.with_name(f"{file.name}.tmp")
    waiting.write_text(text, encoding="utf-8")
    os.replace(waiting, file)


@cache
def _page() -> Template:
    loader = PackageLoader("pipeline", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["f"] = "{:.1f}".format
    return environment.from_string(PAGE)
