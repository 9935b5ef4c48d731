"""The laws give the published figures, and the gradients of what they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.budget.law import Law, published
from pipeline.budget.laws import FORMS, PUBLISHED, Points

# Constants at which the laws without published ones are tried.
TRIED = dict(PUBLISHED.values()) | {
    "hestness": {"g": 1.7, "a": 400.0, "b": 0.3},
    "m4": {"floor": 1.5, "span": 3.0, "alpha": 0.7, "b": 100.0, "c": 0.3},
    "bnsl": {"a": 1.0, "b": 30.0, "c0": 0.1, "d": 1e9, "f": 0.5, "c1": 0.2},
    "exponential": {"E": 2.0, "A": 3.0, "x0": 1e10},
}
NAMES = sorted(TRIED)
counts = st.floats(1e5, 1e13)


def grid(runs: int, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    N, D = np.exp(rng.uniform(15, 23, runs)), np.exp(rng.uniform(18, 26, runs))
    return Points.of(N, D, D * np.exp(-rng.uniform(0, 4, runs)))


def test_the_check_values_of_the_data_constrained_law() -> None:
    """The last two lines of the example in the README of huggingface/datablations."""
    found = published("data_constrained").losses([6.34e9, 8.67e9], [242e9, 178e9], 25e9)
    np.testing.assert_allclose(found, [2.2256440889984477, 2.2269634075087867], rtol=1e-14)


def test_the_constants_of_kaplan() -> None:
    """Section 1.2 of the paper, worked out by hand from the printed constants."""
    assert published("kaplan_n").losses([8.8e13], [1.0])[0] == 1
    assert published("kaplan_d").losses([1.0], [5.4e10])[0] == pytest.approx(1000**0.095)
    joint = published("kaplan")
    assert joint.losses([6.4e10], [1e40])[0] == pytest.approx(1000**0.076)
    assert joint.losses([1e40], [1.8e10])[0] == pytest.approx(1000**0.103)


@pytest.mark.parametrize("kind", NAMES)
def test_gradients_are_those_of_differences(kind: str) -> None:
    form, points = FORMS[kind], grid(40)
    theta = form.theta(TRIED[kind])[None]
    _, gradient = form.log_value(theta, points)
    for i in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[0, i] = 1e-5
        up, down = form.log_value(theta + step, points)[0], form.log_value(theta - step, points)[0]
        np.testing.assert_allclose(gradient[0, :, i], (up - down)[0] / 2e-5, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("kind", NAMES)
def test_several_parameters_at_once_are_each_by_itself(kind: str) -> None:
    form, points = FORMS[kind], grid(7)
    theta = form.theta(TRIED[kind]) * np.array([[1.0], [1.01]])
    both = form.log_value(theta, points)[0]
    for row, single in zip(both, theta, strict=True):
        np.testing.assert_array_equal(row, form.log_value(single[None], points)[0][0])


@pytest.mark.parametrize("name", ["kaplan", "chinchilla", "epoch", "data_constrained"])
@settings(deadline=None)
@given(counts, counts, counts, st.floats(1.01, 1000))
def test_more_parameters_or_tokens_never_raise_the_loss(
    name: str, N: float, D: float, U: float, more: float
) -> None:
    law = published(name)
    here = law.losses([N], [D], U)[0]
    assert law.losses([N * more], [D], U)[0] <= here * (1 + 1e-12)
    assert law.losses([N], [D * more], U)[0] <= here * (1 + 1e-12)


@settings(deadline=None)
@given(counts, counts)
def test_without_repeats_and_excess_the_laws_are_one(N: float, D: float) -> None:
    """As R_D and R_N grow, repeats and excess parameters are worth as much as first ones."""
    params = PUBLISHED["data_constrained"][1]
    fresh = Law("chinchilla", {k: v for k, v in params.items() if k not in ("R_D", "R_N")})
    endless = Law("data_constrained", {**params, "R_D": 1e15, "R_N": 1e15})
    assert endless.losses([N], [D], D / 7)[0] == pytest.approx(fresh.losses([N], [D])[0], rel=1e-6)


@settings(deadline=None)
@given(counts, counts, st.floats(1, 100))
def test_repeats_are_worth_less_than_fresh_tokens(N: float, D: float, epochs: float) -> None:
    law = published("data_constrained")
    assert law.losses([N], [D], D / epochs)[0] >= law.losses([N], [D])[0] * (1 - 1e-12)


def test_m4_solves_its_equation() -> None:
    law = Law("m4", TRIED["m4"])
    x = np.geomspace(1, 1e12, 30)
    loss, p = law.losses(1.0, x), law.params
    left = (loss - p["floor"]) / (p["floor"] + p["span"] - loss) ** p["alpha"]
    np.testing.assert_allclose(left, p["b"] / x ** p["c"], rtol=1e-6)


def test_bnsl_is_two_power_laws_with_a_sharp_bend() -> None:
    law = Law("bnsl", {"a": 1e-12, "b": 1.0, "c0": 0.1, "d": 1e6, "f": 1e-3, "c1": 0.2})
    np.testing.assert_allclose(law.losses(1.0, [1e3, 1e9]), [1e3**-0.1, 1e6**-0.1 * 1e3**-0.3], rtol=1e-6)
