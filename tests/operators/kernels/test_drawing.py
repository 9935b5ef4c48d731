"""Draw times follow the sequential process, solve its hazard and never precede availability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from operators.kernels.drawing import above_diagonal, available_at, composed, draw_times
from operators.kernels.pacing import Line, Pacing

STARTS = st.floats(1e-4, 1.0)
POWERS = st.floats(1.0, 8.0)
UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=30)
PACINGS: list[dict[str, Any]] = [
    {"kind": "competence"},
    {"kind": "linear", "start": 0.05},
    {"kind": "competence", "start": 0.1, "power": 4.0},
    {"kind": "root", "power": 3.0},
    {"kind": "exponential", "start": 0.05, "over": 0.2},
    {"kind": "step", "steps": 4, "start": 0.4},
    {"kind": "baby_steps", "steps": 4},
    {"kind": "stages", "stages": [(0.3, 0.2), (0.6, 0.6), (1.0, 1.0)]},  # the second one is used up
    {"kind": "table", "table": [(0.0, 0.2), (0.3, 0.3), (0.4, 0.9), (1.0, 1.0)]},
    {"kind": "linear", "start": 1.0},
]


@given(STARTS, POWERS, st.sampled_from(["competence", "root"]), UNITS)
def test_available_is_the_inverse_of_the_value(
    start: float, power: float, kind: str, share: list[float]
) -> None:
    pacing = Pacing.model_validate({"kind": kind, "start": start, "power": power})
    c = np.maximum(np.array(share), start)
    t = available_at(c, pacing.line())
    assert (t[c <= start] == 0).all()
    np.testing.assert_allclose(np.interp(t, *pacing.line())[c > start], c[c > start], rtol=1e-6)


@settings(deadline=None)
@given(st.sampled_from(PACINGS), UNITS, st.floats(1e-9, 1 - 1e-9))
def test_never_drawn_before_available(fields: dict[str, Any], easy: list[float], u: float) -> None:
    line = Pacing(**fields).line()
    q = np.sort(np.array(easy))
    drawn = draw_times(q, np.full(len(q), u), line)
    assert (drawn >= available_at(q, line)).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (np.diff(drawn) >= -1e-12).all()


@given(st.floats(1e-3, 1.0), UNITS, st.floats(1e-9, 1 - 1e-9))
def test_linear_pacing_has_a_closed_form(start: float, easy: list[float], u: float) -> None:
    q = np.array(easy)
    ready = np.maximum(0, (q - start) / (1 - start)) if start < 1 else np.zeros(len(q))
    got = draw_times(q, np.full(len(q), u), Pacing(kind="linear", start=start).line())
    np.testing.assert_allclose(got, 1 - (1 - ready) * u**start, atol=1e-9)


@pytest.mark.parametrize(("start", "power"), [(0.01, 2.0), (0.2, 3.0), (0.001, 1.5)])
@pytest.mark.parametrize("kind", ["competence", "root"])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_curved_pacing_solves_the_hazard(start: float, power: float, kind: str, q: float) -> None:
    pacing = Pacing.model_validate({"kind": kind, "start": start, "power": power})
    u = np.array([0.9, 0.5, 0.1])
    ready = float(available_at(np.array([q]), pacing.line())[0])
    drawn = draw_times(np.full(3, q), u, pacing.line())
    hazards = [integrate.quad(lambda t: 1 / (pacing.values(t) - t), ready, end)[0] for end in drawn]
    np.testing.assert_allclose(hazards, -np.log(u), rtol=1e-4)


def test_levels_are_drawn_from_as_they_open() -> None:
    """While c is constant the draws are uniform in what is left, and a level that is used up is over."""
    n = 4000
    line = Pacing(kind="baby_steps", steps=4).line()
    q = (np.arange(n) + 0.5) / n
    drawn = draw_times(q, np.random.default_rng(0).random(n), line)
    for bucket in range(4):
        part = drawn[(q > bucket / 4) & (q <= (bucket + 1) / 4)]
        assert stats.kstest(part, "uniform", args=(bucket / 4, 0.25)).pvalue > 1e-3
    np.testing.assert_array_equal(available_at(np.array([0.25, 0.2501, 1.0]), line), [0.0, 0.25, 0.75])


def simulate(n: int, line: Line, seed: int) -> np.ndarray:
    """The time at which each of n texts, the easiest first, is drawn when they are drawn in turn."""
    rng, pool, opened, drawn = np.random.default_rng(seed), [], 0, np.zeros(n)
    for step in range(n):
        now = np.searchsorted(line[0], step / n, side="right") - 1
        share = line[1][now] if now == len(line[0]) - 1 else np.interp(step / n, *line)
        while opened < min(n, max(share * n, step + 1)):
            pool.append(opened)
            opened += 1
        place = int(rng.integers(len(pool)))
        pool[place], pool[-1] = pool[-1], pool[place]
        drawn[pool.pop()] = step / n
    return drawn


def follows(line: Line, n: int = 4000) -> None:
    """Draw times are uniform over all texts, and in each eighth of the difficulty as simulated."""
    easy = (np.arange(n) + 0.5) / n
    simulated = simulate(n, line, 0)
    drawn = draw_times(easy, np.random.default_rng(1).random(n), line)
    assert stats.kstest(drawn, "uniform").statistic < 1.63 / np.sqrt(n)
    for part in np.split(np.arange(n), 8):
        assert stats.ks_2samp(drawn[part], simulated[part]).pvalue > 1e-4
    means = [easy[np.argsort(times)].reshape(10, -1).mean(axis=1) for times in (drawn, simulated)]
    np.testing.assert_allclose(means[0], means[1], atol=0.07)  # 4 standard errors


@pytest.mark.parametrize("fields", PACINGS, ids=lambda fields: str(fields["kind"]))
def test_draw_times_follow_the_sequential_process(fields: dict[str, Any]) -> None:
    follows(Pacing(**fields).line())


def test_below_the_diagonal_the_easiest_come_in_order() -> None:
    line = above_diagonal(Pacing(kind="exponential", start=0.1).line())
    assert (line[1] >= line[0]).all()
    follows(line)
    q = np.array([0.4, 0.5, 0.6])
    np.testing.assert_allclose(draw_times(q, np.full(3, 0.01), line), q, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(1e-4, 1)), min_size=1, max_size=6), st.booleans())
def test_all_draws_together_are_uniform_for_any_table(rows: list[tuple[float, float]], joined: bool) -> None:
    """One text is drawn at each step, whatever is available."""
    times = [0.0, *np.cumsum([step for step, _ in rows]) / sum(step for step, _ in rows)]
    values = [*np.sort([value for _, value in rows]), 1.0]
    table = tuple(zip([*times[:-1], 1.0], values, strict=True))
    line = above_diagonal(Pacing(kind="table", table=table, interpolate=joined).line())
    assert (np.diff(line[0]) >= 0).all()
    assert (np.diff(line[1]) >= 0).all()
    easy = (np.arange(2000) + 0.5) / 2000
    drawn = draw_times(easy, np.random.default_rng(2).random(2000), line)
    assert stats.kstest(drawn, "uniform").statistic < 2.5 / np.sqrt(2000)


@pytest.mark.parametrize("kind", ["linear", "step", "exponential"])
def test_a_line_of_values_becomes_one_of_shares(kind: str) -> None:
    """Values of which half are 0.1, the others spread over [0.5, 1]."""
    pacing = Pacing.model_validate({"kind": kind, "start": 0.2, "steps": 3})
    values, shares = np.array([0.1, 0.1, 0.5, 1.0]), np.array([0.0, 0.5, 0.5, 1.0])
    t, c = composed(pacing.line(), values, shares)
    assert (t[0], c[t == 0].max(), t[-1], c[-1]) == (0.0, 0.5, 1.0, 1.0)
    asked = np.linspace(0.003, 0.997, 50)
    expected = 0.5 + np.maximum(pacing.values(asked) - 0.5, 0)
    np.testing.assert_allclose(np.interp(asked, t, c), expected, atol=1e-6)
    follows(above_diagonal((t, c)))
