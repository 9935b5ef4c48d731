"""Pools of unique tokens, and what keeping the best share of one does to what its tokens are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from pipeline.budget.law import Law
from pipeline.budget.laws import Floats, repeated
from pipeline.errors import ConfigError, DataError

SHARES = 50  # keep-fractions that are tried between the smallest measured one and 1
LEAST_RUNS = 3
_COLUMNS = ("keep", "q", "loss", "N", "D", "U")  # of a keep curve; others are not read


@dataclass(frozen=True)
class KeepCurve:
    """What a token of the best `keep` of a pool is worth, in tokens of the whole pool; measured by proxies.

    keep (k,) ascending, the last one 1; q (k,) with q = 1 there. Between them log q is a monotone cubic in
    log keep (PCHIP); nothing is said of smaller shares. The gain of a share carries over from the proxies to
    a larger model only as far as the law's data term does: check it with a second proxy size."""

    keep: Floats
    q: Floats
    error: Floats = field(default_factory=lambda: np.empty(0))
    """(k,) standard error of log q over repeated proxies; NaN where there was one run."""
    where: str = "keep curve"

    def at(self, keep: Floats) -> Floats:
        """q at any shares from the smallest measured one to 1."""
        from scipy.interpolate import PchipInterpolator

        return np.exp(PchipInterpolator(np.log(self.keep), np.log(self.q))(np.log(keep)))

    def shares(self) -> Floats:
        """(SHARES,) to try, ascending; the measured ones are among them."""
        even = np.geomspace(self.keep[0], 1, SHARES)
        return np.unique(np.concatenate([even[1:-1], self.keep]))

    def noise(self, keep: float) -> float | None:
        """The standard error of log q(keep), from the measured shares on either side; None if unknown."""
        if not len(self.error):
            return None
        near = np.searchsorted(self.keep, keep)
        around = self.error[max(near - 1, 0) : near + 1]
        return float(np.max(around)) if np.all(np.isfinite(around)) else None


@dataclass(frozen=True)
class Pool:
    """Unique tokens of one kind. Without a curve all of it is kept."""

    name: str
    tokens: float
    keep_curve: KeepCurve | None = None
    multiplier: float = 1.0
    """What a token is worth in tokens of the law's own data; 1 where nobody measured it."""

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("multiplier", self.multiplier)):
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"pool {self.name!r}: {name} is {value}; give a positive number")

    def worth(self, keep: float) -> float:
        """The multiplier of the tokens of the best `keep`."""
        return self.multiplier * (float(self.keep_curve.at(np.array([keep]))[0]) if self.keep_curve else 1.0)


def curve_of(keep: Sequence[float], q: Sequence[float], where: str = "keep curve") -> KeepCurve:
    """A curve from measured multipliers, relative to that of the whole pool, which must be among them."""
    return _curve(np.asarray(keep, float), np.asarray(q, float), where)


def _positive(name: str, values: Floats, where: str) -> None:
    bad = ~(np.isfinite(values) & (values > 0))
    if np.any(bad):
        raise DataError(f"{where}: {name} is {values[int(np.argmax(bad))]:g}; give positive numbers")


def _curve(keep: Floats, q: Floats, where: str) -> KeepCurve:
    for name, values in (("keep", keep), ("q", q)):
        _positive(name, values, where)
    if keep.max() > 1:
        raise DataError(f"{where}: keep is {keep.max():g}; it is the kept share, at most 1")
    shares = np.unique(keep)
    if len(shares) < LEAST_RUNS:
        raise DataError(
            f"{where}: {len(shares)} different shares; measure at least {LEAST_RUNS}, one of them 1"
        )
    if shares[-1] != 1:
        raise DataError(f"{where}: no run at keep = 1, which the others are relative to; add one")
    logs = [np.log(q[keep == share]) for share in shares]
    mean = np.array([log.mean() for log in logs])
    error = np.array([log.std(ddof=1) / np.sqrt(len(log)) if len(log) > 1 else np.nan for log in logs])
    both = np.sqrt(error**2 + error[-1] ** 2)  # the last one is what the others are divided by
    both[-1] = 0.0 if np.isfinite(error[-1]) else np.nan
    return KeepCurve(shares, np.exp(mean - mean[-1]), both, where)


def curve_from_losses(
    keep: Sequence[float], loss: Sequence[float], N: Sequence[float], D: Sequence[float], law: Law,
    unique: Sequence[float] | None = None, where: str = "keep curve",
) -> KeepCurve:  # fmt: skip
    """A curve from proxies of one size trained on the best `keep` of a pool, on a sample of the pool that is
    as large as `unique` (of the whole; default: as D needs, so that nothing is repeated).

    The law gives the data term B / D'^beta of the proxy on the whole pool; a loss that is lower by x is a
    term that is lower by x; what tokens D' would have that term are worth q times those there were. The
    constant E and the size's term cancel, so another tokenizer's offset does no harm; another slope does.
    """
    f, y, n, d = (np.asarray(v, float) for v in (keep, loss, N, D))
    u = d / np.where(f > 0, f, 1.0) if unique is None else np.asarray(unique, float)
    for name, values in (("keep", f), ("loss", y), ("N", n), ("D", d), ("U", u)):
        _positive(name, values, where)
    if len(np.unique(n)) > 1 or len(np.unique(d)) > 1:
        raise DataError(f"{where}: proxies of several sizes or tokens; they differ in the kept share only")
    whole = y[f == 1]
    if not len(whole):
        raise DataError(f"{where}: no run at keep = 1, which the others are relative to; add one")
    params = law.params
    if "B" not in params:
        raise ConfigError(
            f"a keep curve of losses needs a law with a data term, not {law.kind}; give q instead"
        )
    star = params.get("R_D", 15.387756)
    seen = np.minimum(u * f, d)
    effective = seen * (1 + repeated(d / seen - 1, star))
    base = params["B"] / effective[f == 1][0] ** params["beta"]
    term = base + y - whole.mean()
    if np.any(term <= 0):
        i = int(np.argmin(term))
        raise DataError(
            f"{where}: the loss {y[i]:.6g} at keep = {f[i]:g} is {whole.mean() - y[i]:.4g} below that of the "
            f"whole pool, more than the law's whole data term there ({base:.4g}); fit a law to runs of the "
            "proxies' kind"
        )
    q = (params["B"] / term) ** (1 / params["beta"]) / effective
    return _curve(f, q, where)


def read_curve(path: str, law: Law) -> KeepCurve:
    """A CSV or JSON list of rows: keep and q, or keep, loss, N, D and optionally U (unique tokens of the
    whole pool that the proxies drew from)."""
    rows, names = _rows(path)
    if {"keep", "q"} <= set(rows):
        return _curve(rows["keep"], rows["q"], path)
    missing = [name for name in ("keep", "loss", "N", "D") if name not in rows]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]}; a keep curve has keep and q, or keep, loss, N and D of proxy "
            f"runs; there are: {', '.join(names)}"
        )
    return curve_from_losses(rows["keep"], rows["loss"], rows["N"], rows["D"], law, rows.get("U"), path)


def _rows(path: str) -> tuple[dict[str, Any], list[str]]:
    """The columns that a curve reads, and the names of all there are."""
    try:
        table = _json_table(path) if path.endswith(".json") else pv.read_csv(path)
        there = [name for name in _COLUMNS if name in table.schema.names]
        columns = {name: np.asarray(table.column(name).to_numpy(), float) for name in there}
        return columns, table.schema.names
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; give a CSV or JSON of keep and q, or of keep, loss, N and D"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a table of numbers: {error}") from error


def _json_table(path: str) -> pa.Table:
    rows = json.loads(Path(path).read_text("utf-8"))
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise ValueError('it is no list of rows such as [{"keep": 0.5, "q": 1.2}, {"keep": 1, "q": 1}]')
    return pa.Table.from_pylist(rows)
