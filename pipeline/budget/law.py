"""A fitted or published law: what it predicts, how sure that is, and how far beyond its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.budget.laws import FORMS, PUBLISHED, Floats, Form, Points
from pipeline.errors import ConfigError
from pipeline.suggest import did_you_mean
from pipeline.units import number

SCHEMA = "tamis-law/1"
BEYOND = 1.001  # ratio to the largest run from which a point is beyond the data
AXES = {"N": "parameters", "D": "tokens", "flops": "FLOPs", "epochs": "epochs", "ratio": "tokens a parameter"}


@dataclass(frozen=True)
class Prediction:
    """What a law says of one point; low and high are None where the law has no bootstrap."""

    loss: float
    """The unit of the runs: nats a token where they had those."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Law:
    """A law with the figures of its fit. `fit` makes one, `published` gives those of the papers."""

    kind: str
    params: dict[str, float]
    """By the names in `laws.FORMS[kind].params`; N, D and U count parameters and tokens."""
    ci: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % percentile intervals over a bootstrap of the runs."""
    bootstrap: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    """(B, P) parameters of the refits, natural scale."""
    leverage: dict[str, Any] = field(default_factory=dict)
    """`single`: what leaving one run out does to the exponents, the strongest first; `group`: the same of
    the 2 % of the runs that fit worst or pull most."""
    holdout_error: dict[str, Any] | None = None
    """`mean` and `worst` |predicted / measured - 1| of the largest runs, by a fit to the others; `runs`."""
    reach: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Least and most of N, D, flops, epochs and tokens a parameter among the runs."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Runs, misfit (sum of Huber's loss), R^2 of the loss, RMS of the residuals of log loss."""
    warnings: tuple[str, ...] = ()
    over: str = "D"
    """The axis of a law of one variable."""
    dropped: tuple[int, ...] = ()
    """Rows that were left out as outliers, from 0, in the order in which they went."""

    @property
    def form(self) -> Form:
        return FORMS[self.kind]

    def losses(self, N: Any, D: Any, unique: Any = None) -> Floats:
        """(n,) predictions for arrays of points; the loss, or tokens where kind is transfer."""
        points = Points.of(N, D, unique, self.over)
        log: Floats = self.form.log_value(self.form.theta(self.params)[None], points)[0][0]
        return np.exp(log)

    def predict(self, N: float, D: float, unique: float | None = None) -> Prediction:
        """The loss of one model of N parameters after D tokens, `unique` of them different, with the 95 %
        interval of the law. A single run scatters about that by `figures["rms"]` relative."""
        loss = float(self.losses(N, D, unique)[0])
        if not len(self.bootstrap):
            return Prediction(loss, None, None)
        thetas = np.array(
            [self.form.theta(dict(zip(self.params, row, strict=True))) for row in self.bootstrap]
        )
        logs = self.form.log_value(thetas, Points.of(N, D, unique, self.over))[0][:, 0]
        low, high = np.exp(np.percentile(logs, [2.5, 97.5]))
        return Prediction(loss, float(low), float(high))

    def warns(self, N: float, D: float, unique: float | None = None) -> list[str]:
        """A sentence for each way in which a point is beyond the runs that the law was fitted to."""
        if not self.reach:
            return [
                f"the constants of {self.kind} are another data set's and tokenizer's, not fitted to yours"
            ]
        u = min(unique or D, D)
        point = {"N": N, "D": D, "flops": 6 * N * D, "epochs": D / u, "ratio": D / N}
        return [text for axis in self.reach if (text := self._beyond(axis, point[axis]))]

    def _beyond(self, axis: str, value: float) -> str | None:
        low, high = self.reach[axis]
        if low / BEYOND <= value <= high * BEYOND:
            return None
        factor, edge, side = (
            (value / high, high, "largest") if value > high else (low / value, low, "smallest")
        )
        times = "more" if value > high else "less"
        return (
            f"extrapolates: {number(value)} {AXES[axis]} is {factor:.3g} times {times} than the {side} of "
            f"the runs ({number(edge)})"
        )

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads; infinities (a constant that is not identified) as null."""
        return {
            "schema": SCHEMA, "kind": self.kind, "formula": self.form.formula, "source": self.form.source,
            "params": self.params, "ci": {k: [_finite(v) for v in pair] for k, pair in self.ci.items()},
            "figures": self.figures, "holdout_error": self.holdout_error, "leverage": self.leverage,
            "reach": {k: list(pair) for k, pair in self.reach.items()}, "over": self.over,
            "dropped": list(self.dropped), "warnings": list(self.warnings),
            "bootstrap": [[_finite(float(f"{v:.8g}")) for v in row] for row in self.bootstrap],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Law:
        """Raises ConfigError with `where` for what is no law."""
        try:
            if value["schema"] != SCHEMA:
                raise ConfigError(f"{where}: schema {value['schema']!r} is not {SCHEMA!r}; fit the law again")
            form = FORMS[value["kind"]]
            params = {name: float(value["params"][name]) for name in form.params}
            return cls(
                form.kind, params, {k: (_number(a), _number(b)) for k, (a, b) in value["ci"].items()},
                np.array([[_number(v) for v in row] for row in value["bootstrap"]]).reshape(-1, len(params)),
                value["leverage"], value["holdout_error"],
                {k: (a, b) for k, (a, b) in value["reach"].items()},
                value["figures"], tuple(value["warnings"]), value["over"], tuple(value["dropped"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: no law of `tamis budget fit --out` ({error!r})") from error


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _number(value: float | None) -> float:
    return np.inf if value is None else float(value)


def published(name: str) -> Law:
    """A law with the constants of its paper: kaplan_n, kaplan_d, kaplan, chinchilla, epoch (chinchilla as
    Besiroglu et al. 2024 refitted it), data_constrained or transfer."""
    if name not in PUBLISHED:
        raise ConfigError(f"no published law {name!r}{did_you_mean(name, PUBLISHED)}")
    kind, params = PUBLISHED[name]
    return Law(kind, dict(params))


def load(name: str, group: str | None = None) -> Law:
    """The law of a file that `tamis budget fit --out` wrote, else a published one by its name."""
    path = Path(name)
    if not path.exists():
        if name in PUBLISHED and group is not None:
            raise ConfigError(f"the published law {name} has no groups; leave out the group {group!r}")
        if name in PUBLISHED:
            return published(name)
        raise ConfigError(
            f"no file {name!r} and no published law of that name{did_you_mean(name, PUBLISHED)}"
        )
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{name}: cannot be read as JSON ({error}); give what `budget fit --out` wrote"
        ) from error
    groups = value.get("groups") if isinstance(value, dict) else None
    if groups:
        if group not in groups:
            raise ConfigError(
                f"{name} has a law for each of several groups; name one{did_you_mean(str(group), groups)}"
            )
        value = groups[group]
    elif group is not None:
        raise ConfigError(f"{name} has one law and no groups; leave out the group {group!r}")
    return Law.from_json(value, name)
