"""Tokens are spread over pools as well as scipy can, and never beyond the budget or the epochs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from pipeline.budget.planner import epochs_worth_it
from pipeline.budget.spread import fill, worth
from pipeline.errors import ConfigError

pools = st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.2, 3)), min_size=1, max_size=4)
stars = st.floats(1, 30)


@settings(deadline=None, max_examples=60)
@given(pools, st.floats(0.01, 3000), stars, st.floats(1, 16))
def test_all_tokens_are_spread_unless_the_epochs_end(
    given_pools: list[tuple[float, float]], tokens: float, star: float, epochs: float
) -> None:
    unique, q = np.array(given_pools).T
    found = fill(tokens, unique, q, star, epochs)
    assert np.all(found >= 0)
    assert np.all(found <= unique * epochs * (1 + 1e-9))
    assert found.sum() == pytest.approx(min(tokens, unique.sum() * epochs), rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(pools, st.floats(0.1, 500), stars, st.integers(0, 1000))
def test_no_other_spread_is_worth_more(
    given_pools: list[tuple[float, float]], tokens: float, star: float, seed: int
) -> None:
    unique, q = np.array(given_pools).T
    found = fill(tokens, unique, q, star, 8)
    best = worth(found, unique, q, star)[0]
    share = np.random.default_rng(seed).dirichlet(np.ones(len(unique)), 200)
    other = np.minimum(share * found.sum(), unique * 8)
    assert np.all(worth(other.T, unique[:, None], q[:, None], star)[0] <= best * (1 + 1e-9))


def test_the_spread_is_that_of_scipy() -> None:
    unique, q, star, tokens = np.array([5.0, 20.0, 1.0]), np.array([1.4, 1.0, 0.8]), 6.0, 90.0
    found = fill(tokens, unique, q, star, 16)
    solved = minimize(
        lambda d: -worth(d, unique, q, star)[0], np.full(3, tokens / 3), method="SLSQP",
        bounds=[(0, 16 * u) for u in unique], constraints=LinearConstraint(np.ones(3), tokens, tokens),
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert worth(found, unique, q, star)[0] == pytest.approx(-solved.fun, rel=1e-6)
    np.testing.assert_allclose(found, solved.x, rtol=1e-2)


def test_many_budgets_at_once_are_each_by_itself() -> None:
    unique, q = np.array([5.0, 20.0]), np.array([1.4, 1.0])
    tokens = np.array([[1.0, 30.0], [100.0, 1e9]])
    found = fill(tokens, unique[:, None, None], q[:, None, None], 6.0, 4)
    for i in range(2):
        for j in range(2):
            np.testing.assert_allclose(found[:, i, j], fill(tokens[i, j], unique, q, 6.0, 4))


def test_what_repeats_are_worth() -> None:
    assert epochs_worth_it(2e9, 1e9) == 1e9
    assert epochs_worth_it(2e9, 2e9) == 2e9
    # After R* repeats all that is gained is 1 - 1/e of what endless ones would give.
    assert epochs_worth_it(1.0, 1 + 15.0, 15.0) == pytest.approx(1 + 15 * (1 - np.exp(-1)))
    assert epochs_worth_it(1.0, 1e9, 15.0) == pytest.approx(16.0)


@settings(deadline=None)
@given(st.floats(1, 1e12), st.floats(1, 1e12), st.floats(1.001, 10))
def test_more_tokens_are_worth_more_but_no_more_than_fresh_ones(U: float, D: float, more: float) -> None:
    assert epochs_worth_it(U, D) <= D * (1 + 1e-12)
    assert epochs_worth_it(U, D * more) >= epochs_worth_it(U, D) * (1 - 1e-12)
    assert epochs_worth_it(U * more, D) >= epochs_worth_it(U, D) * (1 - 1e-12)


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, float("nan")), (1.0, -2.0)])
def test_repeats_of_nothing_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="must be positive numbers"):
        epochs_worth_it(*values)
