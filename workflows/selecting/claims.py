"""What the literature, and earlier measurements, say of selectors, held against a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ConfigError
from workflows.bench.tables import table
from workflows.selecting.results import Comparison, Line
from workflows.selecting.statistics import LOSES, TIES, UNKNOWN, WINS

CLAIMS = Path(__file__).resolve().parents[2] / "configs" / "selection" / "claims.yaml"
SIGNS = {"+": WINS, "-": LOSES, "0": TIES}


class Claim(BaseModel):
    """A selector's difference to random rows that somebody has found. row: where it is described. labels: how
    many labels, null for the most that a study had. least: how large the difference was, as accuracy, or as a
    share of what random rows have where it is `relative`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    row: int
    selector: str
    protocol: Literal["cold", "warm"]
    labels: int | None = None
    measure: Literal["logistic", "knn"] = "logistic"
    sign: Literal["+", "-", "0"]
    least: float = 0.0
    relative: bool = False
    says: str


def read_claims(file: Path) -> list[Claim]:
    """The claims of a YAML list; ConfigError for what is none."""
    try:
        listed = yaml.safe_load(file.read_text("utf-8")) or []
        return [Claim.model_validate(one) for one in listed]
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise ConfigError(f"{file}: no list of claims: {error}") from error


def check(claims: Sequence[Claim], compared: Sequence[Comparison]) -> str:
    """The claims about selectors of the study as a table: reproduced on a task where the sign is the claim's
    at 2 standard errors; as a whole on 2 tasks, or on the only one."""
    tasks = list(dict.fromkeys(one.task for one in compared))
    rows = []
    for claim in claims:
        found = {task: _line(claim, task, compared) for task in tasks}
        if all(line is None for line in found.values()):
            continue
        good = [task for task, line in found.items() if line is not None and _holds(claim, line)]
        enough = len(good) >= min(2, len(tasks))
        least = f"{claim.least:.1%}" if claim.relative else f"{claim.least:.3f}" if claim.least else ""
        k = "last" if claim.labels is None else f"k={claim.labels}"
        what = f"{claim.selector}, {claim.protocol}, {k}, {claim.measure}"
        cells = [_cell(claim, found[task]) for task in tasks]
        rows.append(
            (
                f"{claim.row}",
                what,
                f"{claim.sign}{least}",
                *cells,
                "reproduced" if enough else "not reproduced",
            )
        )
    if not rows:
        return "claims: none about these selectors, protocols and budgets"
    head = ("row", "selector", "claim", *tasks, "as a whole")
    return "claims against random rows (sign at 2 standard errors)\n" + table(head, rows)


def _line(claim: Claim, task: str, compared: Sequence[Comparison]) -> Line | None:
    """Where the study measured what the claim is about."""
    cells = [
        one for one in compared
        if (one.task, one.protocol, one.measure) == (task, claim.protocol, claim.measure)
    ]  # fmt: skip
    wanted = max((one.labels for one in cells), default=0) if claim.labels is None else claim.labels
    lines = [line for one in cells if one.labels == wanted for line in one.lines]
    return next((line for line in lines if line.name == claim.selector), None)


def _holds(claim: Claim, line: Line) -> bool:
    return line.gain.verdict == SIGNS[claim.sign]


def _cell(claim: Claim, line: Line | None) -> str:
    if line is None:
        return "not run"
    gain = (
        f"{line.relative:+.1%} ({line.gain.text(signed=True)})"
        if claim.relative
        else line.gain.text(signed=True)
    )
    if line.gain.verdict == UNKNOWN:
        return f"{gain}: {UNKNOWN}"
    if not _holds(claim, line):
        opposite = {line.gain.verdict, SIGNS[claim.sign]} == {WINS, LOSES}
        return f"{gain}: {'the opposite' if opposite else 'not reproduced'}"
    size = line.relative if claim.relative else line.gain.mean
    short = claim.sign != "0" and abs(size) < claim.least
    return f"{gain}: reproduced{', but smaller' if short else ''}"
