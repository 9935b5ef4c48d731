"""From results seed by seed to comparisons with random rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workflows.selecting.branches import RANDOM
from workflows.selecting.heads import MEASURES
from workflows.selecting.protocols import Row
from workflows.selecting.statistics import Estimate, estimate, paired

AGAIN = "random again (control)"
PLACEBO = "placebo_"


@dataclass(frozen=True)
class Line:
    """A selector or a control: its measure, the paired difference to random rows, that difference as a share
    of what random rows have, and the mean number of rows that it chose."""

    name: str
    value: Estimate
    gain: Estimate
    relative: float
    rows: float
    control: bool


@dataclass(frozen=True)
class Comparison:
    """All selectors by one measure, with so many labels on one task."""

    task: str
    protocol: str
    labels: int
    measure: str
    random: Estimate
    lines: list[Line]


def comparisons(task: str, rows: Sequence[Row], draws: int) -> list[Comparison]:
    """For each protocol, number of labels and measure, in the order in which they come. Random rows are the
    mean of `draws` arms on each seed; the arm after them is the control."""
    cells: dict[tuple[str, int], dict[str, dict[int, Row]]] = {}
    for row in rows:
        cells.setdefault((row["protocol"], row["labels"]), {}).setdefault(row["arm"], {})[row["seed"]] = row
    lucky = [RANDOM, *(f"{RANDOM}_draw{i}" for i in range(1, draws))]
    again = f"{RANDOM}_draw{draws}"
    found = []
    for (protocol, labels), arms in cells.items():
        for measure in MEASURES:
            values = {name: [seeds[s][measure] for s in sorted(seeds)] for name, seeds in arms.items()}
            base = np.mean([values[name] for name in lucky], axis=0).tolist()
            lines = []
            for name in [n for n in values if n not in lucky and n != again] + [again]:
                gain = paired(values[name], base)
                chosen = float(np.mean([row["chosen"] for row in arms[name].values()]))
                control = name == again or name.startswith(PLACEBO)
                shown = AGAIN if name == again else name
                relative = gain.mean / float(np.mean(base)) if np.mean(base) else 0.0
                lines.append(Line(shown, estimate(values[name]), gain, relative, chosen, control))
            lines.sort(key=lambda line: line.control)
            found.append(Comparison(task, protocol, labels, measure, estimate(base), lines))
    return found
