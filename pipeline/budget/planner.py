"""What to do with a budget of compute and pools of tokens: model size, tokens, kept shares, epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.budget.advice import notes_of, plan_warnings
from pipeline.budget.law import Law
from pipeline.budget.laws import Floats, repeated
from pipeline.budget.outlook import ASSUMED, Outlook, outlooks
from pipeline.budget.pools import Pool
from pipeline.budget.spread import fill, worth
from pipeline.errors import ConfigError

SIZES = 200  # of a model, even in their logarithm
RATIOS = (0.05, 2e4)  # tokens a parameter between which sizes are looked for
BONUSES = (0.0, 0.1, 0.3, 1.0, 3.0)  # for first passes; with more unique tokens a larger model is worth it
SWEEPS = 6  # over the pools' kept shares, until none changes
POLISH = 4  # times that the best size's neighbourhood is searched again


@dataclass(frozen=True)
class Plan:
    """The best use of a budget, and the whole curve around it."""

    N: float
    """Parameters."""
    tokens: float
    """Tokens to train on, repeats counted."""
    keep_fraction: dict[str, float]
    """By pool: the share of its tokens to keep."""
    epochs: dict[str, float]
    """By pool: passes over what is kept."""
    loss: float
    low: float | None
    high: float | None
    """95 % interval of the loss of this plan over the law's bootstrap; None without one."""
    N_low: float | None
    N_high: float | None
    """95 % interval of the best size over the bootstrap, at these kept shares."""
    flops: dict[str, float]
    """`budget`, `training` (6 N D), `scoring` and `unspent`."""
    pools: list[dict[str, Any]]
    table: list[dict[str, Any]]
    """The curve over sizes at these kept shares: N, tokens, epochs, loss, low, high."""
    keep_table: dict[str, list[dict[str, float]]]
    """By pool with a curve: loss and best size for each share, the other pools as planned."""
    everything: dict[str, float]
    """N, tokens and loss of the best plan that keeps everything and scores nothing."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Setting:
    flops: float
    pools: tuple[Pool, ...]
    score: float  # FLOPs a token
    most_epochs: float

    @property
    def tokens(self) -> Floats:
        """(P,) of the whole pools."""
        return np.array([pool.tokens for pool in self.pools])

    def scoring(self, keep: Floats) -> Floats:
        """(F,) FLOPs to score the pools of which not all is kept; keep (P, F)."""
        return self.score * ((keep < 1) * self.tokens[:, None]).sum(axis=0)

    def sizes(self) -> Floats:
        low, high = (np.sqrt(self.flops / 6 / ratio) for ratio in RATIOS[::-1])
        return np.geomspace(low, high, SIZES)


def plan(
    flops: float,
    pools: Sequence[Pool],
    law: Law,
    *,
    score_flops_per_token: float = 0.0,
    max_epochs: float = 16.0,
) -> Plan:
    """The size and the data that get the least loss out of `flops`.

    A kept share f of a pool leaves f of its unique tokens, each worth q(f), and costs the scoring of the
    whole pool, which comes out of the same budget; nothing is scored where all is kept. Training costs 6 N D.
    Tokens go to the pools so that the loss is least (`spread.fill`), no pool more than `max_epochs` times:
    repeats of a good pool may teach more than first passes of a worse one, but unique tokens let a larger
    model be used.
    The law knows one loss: that of the data it was fitted to. That a mixture of pools changes the test is not
    in it. Laws without constants of repeats get the published ones (R_D = 15.4, R_N = 5.3); the plan says so.

    Grid over sizes and shares, shares of several pools in turn from two ends, and a few spreads of tokens.
    Raises ConfigError for a budget or pools that allow no plan.
    """
    setting = _Setting(float(flops), tuple(pools), float(score_flops_per_token), float(max_epochs))
    _check(setting)
    view, spread = outlooks(law)
    keep = _best_keep(setting, view)
    n = _best_size(setting, view, keep)
    there = _at(setting, view, keep[:, None], np.array([n]))
    tokens = there.tokens[:, 0, 0]
    all_kept = np.ones(len(setting.pools))
    n_all = _best_size(setting, view, all_kept)
    everything = _at(setting, view, all_kept[:, None], np.array([n_all]))
    low, high, n_low, n_high = _intervals(setting, spread, keep, n)
    training, scoring = 6 * n * float(tokens.sum()), float(setting.scoring(keep[:, None])[0])
    made = Plan(
        n, float(tokens.sum()), dict(zip(_names(setting), map(float, keep), strict=True)),
        dict(zip(_names(setting), map(float, tokens / (keep * setting.tokens)), strict=True)),
        float(there.loss[0, 0]), low, high, n_low, n_high,
        {"budget": setting.flops, "training": training, "scoring": scoring,
         "unspent": max(0.0, setting.flops - training - scoring)},
        _pool_rows(setting, keep, tokens), _table(setting, view, spread, keep),
        _keep_tables(setting, view, keep),
        {"N": n_all, "tokens": float(everything.tokens.sum()), "loss": float(everything.loss[0, 0])},
    )  # fmt: skip
    made.notes.extend(notes_of(made, law, setting.pools, setting.most_epochs))
    made.warnings.extend(plan_warnings(made, law, setting.pools, setting.most_epochs))
    return made


def epochs_worth_it(U: float, D: float, star: float = ASSUMED["R_D"]) -> float:
    """First passes that D tokens over U unique ones are worth: U + U R* (1 - exp(-(D / U - 1) / R*)) with
    R* = `star` repeats (Muennighoff et al. 2023, eq. 5); D where nothing is repeated."""
    if not (np.isfinite([U, D, star]).all() and U > 0 and D > 0 and star > 0):
        raise ConfigError(f"unique tokens {U}, tokens {D} and R* {star} must be positive numbers")
    return float(D if D <= U else U * (1 + repeated(D / U - 1, star)))


def _check(setting: _Setting) -> None:
    if not (np.isfinite(setting.flops) and setting.flops > 0):
        raise ConfigError(f"a budget of {setting.flops} FLOPs; give a positive number")
    if not setting.pools:
        raise ConfigError("no pools; give at least one, as --pool web=2e11")
    names = [pool.name for pool in setting.pools]
    if len(set(names)) < len(names):
        raise ConfigError(f"pools of the same name: {', '.join(names)}")
    if not (np.isfinite(setting.most_epochs) and setting.most_epochs >= 1):
        raise ConfigError(f"max_epochs {setting.most_epochs}; give a number from 1")
    if not (np.isfinite(setting.score) and setting.score >= 0):
        raise ConfigError(f"{setting.score} FLOPs to score a token; give a number from 0")


def _names(setting: _Setting) -> list[str]:
    return [pool.name for pool in setting.pools]


@dataclass(frozen=True)
class _Found:
    """For F choices of kept shares and M sizes: tokens (P, F, M), loss (F, M), epochs over what is kept."""

    tokens: Floats
    loss: Floats


def _at(setting: _Setting, view: Outlook, keep: Floats, sizes: Floats) -> _Found:
    """keep (P, F), sizes (M,)."""
    left = setting.flops - setting.scoring(keep)
    wanted = np.maximum(left, 0)[:, None] / (6 * sizes)
    unique = (keep * setting.tokens[:, None])[..., None]
    q = _worths(setting, keep)[..., None]
    tokens, loss = _spread(setting, view, wanted, unique, q, sizes)
    return _Found(tokens, np.where((left > 0)[:, None] & np.isfinite(loss), loss, np.inf))


def _spread(
    setting: _Setting, view: Outlook, wanted: Floats, unique: Any, q: Any, sizes: Floats
) -> tuple[Floats, Floats]:
    """The tokens of each pool and the loss: of several spreads, which value first passes differently, the
    best for each size."""
    best: tuple[Floats, Floats] | None = None
    for bonus in BONUSES if len(setting.pools) > 1 else BONUSES[:1]:
        tokens = fill(wanted, unique, q, view.star, setting.most_epochs, bonus)
        loss = view.loss(sizes, *worth(tokens, unique, q, view.star))
        if best is not None:
            less = loss < best[1]
            tokens, loss = np.where(less, tokens, best[0]), np.where(less, loss, best[1])
        best = tokens, loss
    assert best is not None
    return best


def _worths(setting: _Setting, keep: Floats) -> Floats:
    """(P, F) what a token is worth at kept shares (P, F)."""
    rows = [
        pool.multiplier * (pool.keep_curve.at(row) if pool.keep_curve else np.ones_like(row))
        for pool, row in zip(setting.pools, keep, strict=True)
    ]
    return np.stack(rows)


def _best_keep(setting: _Setting, view: Outlook) -> Floats:
    """(P,) the kept shares with the least loss at their best size."""
    curved = [i for i, pool in enumerate(setting.pools) if pool.keep_curve is not None]
    sizes = setting.sizes()

    def sweep(keep: Floats) -> tuple[float, Floats]:
        least = float(_at(setting, view, keep[:, None], sizes).loss.min())
        for _ in range(SWEEPS if len(curved) > 1 else 1):
            before = least
            for i in curved:
                curve = setting.pools[i].keep_curve
                assert curve is not None
                shares = curve.shares()
                tried = np.repeat(keep[:, None], len(shares), axis=1)
                tried[i] = shares
                losses = _at(setting, view, tried, sizes).loss.min(axis=1)
                # Of equal losses the one that keeps most: it is the simplest thing to do.
                best = len(losses) - 1 - int(np.argmin(losses[::-1]))
                if losses[best] < least:
                    keep, least = tried[:, best], float(losses[best])
            if least == before:
                break
        return least, keep

    begins = [np.ones(len(setting.pools))]
    if len(curved) > 1:
        best_q = begins[0].copy()
        for i in curved:
            curve = setting.pools[i].keep_curve
            assert curve is not None
            best_q[i] = curve.keep[int(np.argmax(curve.q))]
        begins.append(best_q)
    return min((sweep(begin) for begin in begins), key=lambda pair: pair[0])[1]


def _best_size(setting: _Setting, view: Outlook, keep: Floats) -> float:
    sizes = setting.sizes()
    for _ in range(POLISH + 1):
        losses = _at(setting, view, keep[:, None], sizes).loss[0]
        best = int(np.argmin(losses))
        if not np.isfinite(losses[best]):
            raise ConfigError(
                "no model size gives a finite loss at this budget; is it large enough to score the pools?"
            )
        low, high = sizes[max(best - 1, 0)], sizes[min(best + 1, len(sizes) - 1)]
        found, sizes = sizes[best], np.geomspace(low, high, 41)
    return float(found)


def _intervals(
    setting: _Setting, spread: Outlook | None, keep: Floats, n: float
) -> tuple[float | None, float | None, float | None, float | None]:
    if spread is None:
        return None, None, None, None
    here = _over(setting, spread, keep, np.array([n]))[:, 0]
    sizes = setting.sizes()
    best = sizes[np.argmin(_over(setting, spread, keep, sizes), axis=1)]
    low, high = np.percentile(here, [2.5, 97.5])
    n_low, n_high = np.percentile(best, [2.5, 97.5])
    return float(low), float(high), float(n_low), float(n_high)


def _over(setting: _Setting, spread: Outlook, keep: Floats, sizes: Floats) -> Floats:
    """(B, M) losses over the bootstrap at one choice of shares."""
    left = setting.flops - float(setting.scoring(keep[:, None])[0])
    unique = (keep * setting.tokens)[:, None, None]
    q = _worths(setting, keep[:, None])[:, :, None]
    return _spread(setting, spread, left / (6 * sizes)[None], unique, q, sizes)[1]


def _pool_rows(setting: _Setting, keep: Floats, tokens: Floats) -> list[dict[str, Any]]:
    return [
        {
            "name": pool.name, "unique": pool.tokens, "keep_fraction": float(f),
            "kept": float(f * pool.tokens),
            "tokens": float(d), "epochs": float(d / (f * pool.tokens)), "worth": pool.worth(float(f)),
            "scoring_flops": setting.score * pool.tokens if f < 1 else 0.0,
        }
        for pool, f, d in zip(setting.pools, keep, tokens, strict=True)
    ]  # fmt: skip


def _table(setting: _Setting, view: Outlook, spread: Outlook | None, keep: Floats) -> list[dict[str, Any]]:
    sizes = setting.sizes()
    found = _at(setting, view, keep[:, None], sizes)
    tokens = found.tokens[:, 0].sum(axis=0)
    kept = float((keep * setting.tokens).sum())
    ends = np.full((2, len(sizes)), np.nan)
    if spread is not None:
        ends = np.percentile(_over(setting, spread, keep, sizes), [2.5, 97.5], axis=0)
    return [
        {
            "N": float(sizes[i]), "tokens": float(tokens[i]), "epochs": float(tokens[i] / kept),
            "loss": float(found.loss[0, i]),
            "low": float(ends[0, i]) if spread else None, "high": float(ends[1, i]) if spread else None,
        }
        for i in range(len(sizes))
        if np.isfinite(found.loss[0, i])
    ]  # fmt: skip


def _keep_tables(setting: _Setting, view: Outlook, keep: Floats) -> dict[str, list[dict[str, float]]]:
    tables, sizes = {}, setting.sizes()
    for i, pool in enumerate(setting.pools):
        if pool.keep_curve is None:
            continue
        shares = pool.keep_curve.shares()
        tried = np.repeat(keep[:, None], len(shares), axis=1)
        tried[i] = shares
        losses = _at(setting, view, tried, sizes).loss
        best = np.argmin(losses, axis=1)
        tables[pool.name] = [
            {"keep": float(f), "worth": pool.worth(float(f)), "loss": float(row[j]), "N": float(sizes[j])}
            for f, row, j in zip(shares, losses, best, strict=True)
            if np.isfinite(row[j])
        ]
    return tables
