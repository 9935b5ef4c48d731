"""Draws by luck alone, probabilities, tau."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from gpu_ops.trainer.select.sampling import below, effective_size, luck, normalised, tau, with_replacement

sizes = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e300))


def test_luck_is_a_function_of_seed_and_number_and_uniform() -> None:
    assert np.array_equal(luck(1, 7, 50), luck(1, 7, 50))
    assert np.array_equal(luck(1, 7, 50)[:20], luck(1, 7, 20))
    many = np.concatenate([luck(3, number, 16) for number in range(1000)])
    assert len(np.unique(many)) == len(many)
    assert chisquare(np.histogram(many, 16, (0, 1))[0]).pvalue > 1e-3


@given(sizes)
def test_tau_has_the_papers_form(size) -> None:
    g = normalised(size)
    assert g.sum() == pytest.approx(1)
    u = np.full(len(g), 1 / len(g))
    paper = (1 - np.square(g - u).sum() / np.square(g).sum()) ** -0.5
    assert tau(g) == pytest.approx(paper, rel=1e-6)
    assert tau(g) ** 2 == pytest.approx(len(g) / effective_size(g))
    assert 1 - 1e-12 <= tau(g) <= np.sqrt(len(g)) + 1e-9


@given(sizes, st.integers(0, 99))
def test_nothing_of_probability_zero_is_drawn(size, number) -> None:
    g = normalised(size)
    assert (g[with_replacement(g, luck(0, number, 40))] > 0).all()


def test_draws_have_their_probabilities() -> None:
    p = np.array([0.5, 0.0, 0.1, 0.25, 0.15])
    counts = np.bincount(with_replacement(p, luck(0, 1, 20_000)), minlength=5)
    assert counts[1] == 0
    assert chisquare(counts[p > 0], 20_000 * p[p > 0]).pvalue > 1e-3


def test_a_score_that_is_no_number_stops() -> None:
    with pytest.raises(FloatingPointError, match="row 1 of the candidates is nan"):
        normalised(np.array([1.0, np.nan]))


def test_a_cap_leaves_out_what_lies_above_the_percentile() -> None:
    loss = np.arange(10.0)
    assert below(loss, 80).tolist() == [1] * 8 + [0] * 2
    assert below(loss, None).all()
    assert below(np.array([2.0]), 50).all()
