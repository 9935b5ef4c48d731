"""Spreads training tokens over pools so that, repeats counted for less, they are worth most."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.budget.laws import Floats, repeated

STEPS = 60  # halvings of the price; the rest is spread in proportion


def fill(tokens: Any, unique: Any, q: Any, star: Any, most_epochs: float, bonus: float = 0.0) -> Floats:
    """(P, ...) tokens of each pool that add up to `tokens` (...), or all that the epochs allow.

    unique, q (P, ...): unique tokens and worth of one. Worth most is sum q U g(D / U), where g counts a first
    pass in full and e more as star (1 - exp(-e / star)): a concave problem, solved by the price of a token at
    which pools stop buying. All arguments broadcast.

    A first pass may be worth more than it teaches, by `bonus` q, as a law in which unique tokens say how many
    parameters can be used has it: then sum q U (g(D / U) + bonus min(D / U, 1)) is what becomes most.
    """
    unique, q = np.broadcast_arrays(np.asarray(unique, float), np.asarray(q, float))
    tokens = np.asarray(tokens, float)
    shape = np.broadcast_shapes(tokens.shape, unique.shape[1:], np.shape(star))
    whole = (unique * most_epochs).sum(axis=0)
    wanted = np.broadcast_to(np.minimum(tokens, whole), shape)
    if len(unique) == 1:
        return wanted[None]
    with np.errstate(under="ignore", over="ignore"):
        high = np.broadcast_to(np.log(q.max(axis=0)) + np.log1p(bonus) + 1e-9, shape).copy()
        low = np.broadcast_to(np.log(q.min(axis=0)) - (most_epochs - 1) / star - 1e-9, shape).copy()
        for _ in range(STEPS):
            price = (low + high) / 2
            enough = bought(price, unique, q, star, most_epochs, bonus).sum(axis=0) >= wanted
            low, high = np.where(enough, price, low), np.where(enough, high, price)
        less = bought(high, unique, q, star, most_epochs, bonus)
        more = bought(low, unique, q, star, most_epochs, bonus)
        gap = (more - less).sum(axis=0)
        share = np.where(gap > 0, (wanted - less.sum(axis=0)) / np.where(gap > 0, gap, 1), 0.0)
    return np.asarray(less + np.clip(share, 0, 1) * (more - less))


def bought(log_price: Any, unique: Any, q: Any, star: Any, most_epochs: float, bonus: float = 0.0) -> Any:
    """(P, ...) tokens that are worth their price: a first pass while q is above it, then repeats."""
    extra = star * (np.log(q) - log_price)
    wanted = extra >= -star * np.log1p(bonus)
    return np.where(wanted, unique * (1 + np.clip(extra, 0.0, most_epochs - 1)), 0.0)


def worth(tokens: Floats, unique: Any, q: Any, star: Any) -> tuple[Any, Any]:
    """(...) what tokens (P, ...) of the pools are worth together, and what their unique ones are."""
    fresh = np.minimum(tokens, unique)
    extra = np.maximum(tokens / unique - 1, 0)
    with np.errstate(under="ignore"):
        again = np.asarray(unique, float) * repeated(extra, star)
    return (q * (fresh + again)).sum(axis=0), (q * fresh).sum(axis=0)
