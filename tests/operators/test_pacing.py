"""Pacing functions are exact at both ends and monotone; draw times follow the sequential process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from operators.kernels.pacing import available_at, competence, draw_times

STARTS = st.floats(1e-4, 1.0)
POWERS = st.floats(1.0, 8.0)
UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(STARTS, POWERS)
def test_competence_is_exact_at_both_ends(start: float, power: float) -> None:
    ends = competence(np.array([0.0, 1.0]), start, power)
    assert ends[0] == pytest.approx(start, rel=1e-12)
    assert ends[1] == 1.0


@given(STARTS, POWERS, UNITS)
def test_competence_ascends_and_inverts(start: float, power: float, times: list[float]) -> None:
    t = np.sort(np.array(times))
    c = competence(t, start, power)
    assert (np.diff(c) >= 0).all()
    assert ((c >= start) & (c <= 1) & (c >= t - 1e-12)).all()
    np.testing.assert_allclose(competence(available_at(c, start, power), start, power), c, rtol=1e-9)


def test_root_pacing_is_the_formula_of_the_paper() -> None:
    t = np.linspace(0, 1, 11)
    expected = np.minimum(1, np.sqrt(t * (1 - 0.01**2) + 0.01**2))
    np.testing.assert_allclose(competence(t, 0.01, 2.0), expected, rtol=1e-12)
    np.testing.assert_allclose(competence(t, 0.01, 1.0), 0.01 + 0.99 * t, rtol=1e-12)


@settings(deadline=None)
@given(STARTS, POWERS, UNITS, st.floats(1e-9, 1 - 1e-9))
def test_never_drawn_before_available(start: float, power: float, easy: list[float], u: float) -> None:
    q = np.sort(np.array(easy))
    drawn = draw_times(q, np.full(len(q), u), start, power)
    assert (drawn >= available_at(q, start, power)).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (np.diff(drawn) >= -1e-12).all()


@given(st.floats(1e-3, 0.999), UNITS, st.floats(1e-9, 1 - 1e-9))
def test_linear_pacing_has_a_closed_form(start: float, easy: list[float], u: float) -> None:
    q = np.array(easy)
    ready = np.maximum(0, (q - start) / (1 - start))
    got = draw_times(q, np.full(len(q), u), start, 1.0)
    np.testing.assert_allclose(got, 1 - (1 - ready) * u**start, atol=1e-6)


@pytest.mark.parametrize(("start", "power"), [(0.01, 2.0), (0.2, 3.0), (0.001, 1.5)])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_root_pacing_solves_the_hazard(start: float, power: float, q: float) -> None:
    u = np.array([0.9, 0.5, 0.1])
    ready = float(available_at(np.array([q]), start, power)[0])
    drawn = draw_times(np.full(3, q), u, start, power)
    hazards = [
        integrate.quad(lambda t: 1 / (competence(np.array([t]), start, power)[0] - t), ready, end)[0]
        for end in drawn
    ]
    np.testing.assert_allclose(hazards, -np.log(u), rtol=1e-4)


def simulate(n: int, start: float, power: float, seed: int) -> np.ndarray:
    """The time at which each of n texts, the easiest first, is drawn when they are drawn in turn."""
    rng, pool, opened, drawn = np.random.default_rng(seed), [], 0, np.zeros(n)
    for step in range(n):
        share = float(competence(np.array([step / n]), start, power)[0])
        while opened < max(share * n, step + 1):
            pool.append(opened)
            opened += 1
        place = int(rng.integers(len(pool)))
        pool[place], pool[-1] = pool[-1], pool[place]
        drawn[pool.pop()] = step / n
    return drawn


@pytest.mark.parametrize(("start", "power"), [(0.01, 2.0), (0.05, 1.0), (0.1, 4.0)])
def test_draw_times_follow_the_sequential_process(start: float, power: float) -> None:
    n = 4000
    easy = (np.arange(n) + 0.5) / n
    simulated = simulate(n, start, power, 0)
    drawn = draw_times(easy, np.random.default_rng(1).random(n), start, power)
    assert stats.kstest(drawn, "uniform").statistic < 1.63 / np.sqrt(n)
    for part in np.split(np.arange(n), 8):
        assert stats.ks_2samp(drawn[part], simulated[part]).pvalue > 1e-4
    means = [easy[np.argsort(times)].reshape(10, -1).mean(axis=1) for times in (drawn, simulated)]
    np.testing.assert_allclose(means[0], means[1], atol=0.07)  # 4 standard errors
