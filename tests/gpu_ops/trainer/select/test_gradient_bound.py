"""Importance sampling by the bound: unbiased, of the variance that theory says, and off until it pays."""

from __future__ import annotations

import numpy as np
import pytest
from selecting import again, rows_of

from gpu_ops.trainer.select.gradient_bound import GradientBound
from gpu_ops.trainer.select.selector import Scores


def switched_on(min_tau: float = 1.0, cap: float | None = None, seed: int = 1) -> GradientBound:
    selector = GradientBound(seed, min_tau, 0.9, cap)
    for _ in range(60):
        selector.learn(rows_of(3), Scores(bound=np.array([0.0, 0.0, 1.0])))
    assert selector.on
    return selector


def estimates(draws: int, cap: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws, 2) estimated gradients; (B, 2) those of the rows, and their bounds."""
    luck = np.random.default_rng(3)
    gradient, bound = luck.normal(size=(12, 2)) * luck.exponential(size=(12, 1)), luck.exponential(size=12)
    selector, batch = switched_on(cap=cap), rows_of(12)
    scores = Scores(bound=bound, loss=bound)
    found = [selector.choose(batch, scores, 4, number) for number in range(draws)]
    means = [(one.weight[:, None] * gradient[one.index]).sum(axis=0) / one.targets.sum() for one in found]
    return np.array(means), gradient, bound


def test_the_mean_over_draws_is_the_full_gradient_and_the_variance_is_closed() -> None:
    got, gradient, bound = estimates(20_000)
    full, g = gradient.mean(axis=0), bound / bound.sum()
    error = got.std(axis=0, ddof=1) / np.sqrt(len(got))
    assert (np.abs(got.mean(axis=0) - full) < 3 * error).all()
    one = (g[:, None] * np.square(gradient / (12 * g[:, None]))).sum(axis=0) - np.square(full)
    assert got.var(axis=0) == pytest.approx(one / 4, rel=0.05)


def test_capped_it_is_the_gradient_of_the_others() -> None:
    got, gradient, bound = estimates(20_000, cap=75)
    within = bound <= np.quantile(bound, 0.75)
    want = gradient[within].mean(axis=0) * within.sum() / 12
    # Weights are 1 / (B g) over all B: rows that are capped count as rows without a gradient.
    error = got.std(axis=0, ddof=1) / np.sqrt(len(got))
    assert (np.abs(got.mean(axis=0) - want) < 3 * error).all()


def test_off_it_takes_every_row_in_order_and_asks_for_nothing() -> None:
    selector = GradientBound(1, 2.0, 0.9, None)
    assert selector.wants(rows_of(6)) == frozenset()
    found = selector.choose(rows_of(6), Scores(), 2, 0)
    assert found.index.tolist() == list(range(6))
    assert found.weight.tolist() == [1.0] * 6
    assert found.targets is None


def test_tau_follows_the_steps_own_rows_while_it_is_off_and_the_presample_while_it_is_on() -> None:
    selector = GradientBound(1, 1.1, 0.5, None)
    bound = np.array([1.0, 1.0, 6.0])
    now = np.sqrt(3 * 38 / 64)
    selector.learn(rows_of(3), Scores(bound=bound))
    assert selector.state()["tau"] == pytest.approx(now / 2)
    selector.learn(rows_of(3), Scores(bound=bound))
    selector.learn(rows_of(3), Scores(bound=bound))
    assert selector.on
    assert selector.wants(rows_of(6)) == {"bound"}
    before = selector.state()["tau"][0]
    told = selector.choose(rows_of(6), Scores(bound=np.ones(6)), 2, 5).told
    assert told["tau"] == pytest.approx((before + 1) / 2)
    assert told["ess"] == pytest.approx(6)
    selector.learn(rows_of(2), Scores(bound=np.array([0.0, 9.0])))  # of rows that importance chose: no news
    assert selector.state()["tau"][0] == pytest.approx((before + 1) / 2)


def test_rows_of_many_targets_count_for_them() -> None:
    batch = rows_of(6, tokens=5)
    found = switched_on().choose(batch, Scores(bound=np.arange(6.0)), 3, 0)
    assert found.targets.tolist() == [5.0] * 3


def test_it_goes_on_from_its_state() -> None:
    one = switched_on()
    two = again(one, GradientBound(1, 1.0, 0.9, None))
    scores = Scores(bound=np.arange(9.0))
    left, right = (s.choose(rows_of(9), scores, 3, 4) for s in (one, two))
    assert left.index.tolist() == right.index.tolist()
    assert left.told == right.told
