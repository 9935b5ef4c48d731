"""Entropy, margin, BALD and their like against scipy and a case computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpu_ops.kernels import uncertainty as u

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-900, 900))


def test_three_classes_by_hand() -> None:
    """Two passes say (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2): their mean is (3/8, 1/4, 3/8)."""
    passes = np.log([[[0.5, 0.25, 0.25]], [[0.25, 0.25, 0.5]]])
    each = 1.5 * np.log(2)  # 1/2 ln 2 + 2 * 1/4 ln 4
    mean = -0.75 * np.log(3 / 8) + 0.25 * np.log(4)
    assert u.entropy(passes[0])[0] == pytest.approx(each, abs=1e-6)
    assert u.bald(passes)[0] == pytest.approx(mean - each, abs=1e-6)
    assert u.bald(passes)[0] == pytest.approx(0.0425, abs=1e-4)
    assert (u.margin(passes[0])[0], u.confidence(passes[0])[0]) == pytest.approx((0.25, 0.5))
    assert u.least_confidence(passes[0])[0] == pytest.approx(0.5)
    assert u.el2n(passes[0], np.array([0]))[0] == pytest.approx(np.sqrt(0.25 + 2 * 0.0625))
    assert u.el2n(passes[0], np.array([1]))[0] == pytest.approx(np.sqrt(0.25 + 0.5625 + 0.0625))


def test_passes_that_are_sure_of_different_classes_have_all_of_the_entropy() -> None:
    sure = np.where(np.eye(3, dtype=bool)[:, None, :], 0.0, -np.inf)
    assert u.bald(sure)[0] == pytest.approx(np.log(3))
    assert u.bald(sure[[0, 0]])[0] == 0


@given(LOGITS, LOGITS)
def test_they_are_those_of_scipy(a: np.ndarray, b: np.ndarray) -> None:
    log_p, log_q = u.log_softmax(a), u.log_softmax(b)
    np.testing.assert_allclose(log_p, scipy.special.log_softmax(a, axis=1), atol=1e-9)
    p = np.exp(log_p)
    np.testing.assert_allclose(u.entropy(log_p), scipy.stats.entropy(p, axis=1), atol=1e-9)
    want = scipy.special.kl_div(p, np.exp(log_q)).sum(axis=1)
    finite = np.isfinite(want) & (np.exp(log_q) > 1e-300).all(axis=1)
    np.testing.assert_allclose(u.divergence(log_p, log_q)[finite], want[finite], atol=1e-8, rtol=1e-8)
    assert (u.divergence(log_p, log_q) >= 0).all()
    top = np.sort(p, axis=1)
    np.testing.assert_allclose(u.margin(log_p), top[:, -1] - top[:, -2], atol=1e-12)
    mean = scipy.stats.entropy((p + np.exp(log_q)) / 2, axis=1)
    two = (scipy.stats.entropy(p, axis=1) + scipy.stats.entropy(np.exp(log_q), axis=1)) / 2
    np.testing.assert_allclose(u.bald(np.stack([log_p, log_q])), mean - two, atol=1e-9)


@given(LOGITS, arrays(np.int64, 4, elements=st.integers(0, 4)))
def test_el2n_is_the_distance_to_the_label(logits: np.ndarray, label: np.ndarray) -> None:
    want = np.linalg.norm(scipy.special.softmax(logits, axis=1) - np.eye(5)[label], axis=1)
    np.testing.assert_allclose(u.el2n(u.log_softmax(logits), label), want, atol=1e-9)


def test_confident_rows_keep_their_digits() -> None:
    """1 - p is 2e-20 here: p rounds to 1, so that subtracting would give 0."""
    log_p = u.log_softmax(np.array([[0.0, -46.0, -46.0]]))
    rest = np.exp(-46.0)
    np.testing.assert_allclose(u.least_confidence(log_p), 2 * rest, rtol=1e-9)
    np.testing.assert_allclose(u.el2n(log_p, np.array([0])), np.sqrt(6) * rest, rtol=1e-9)


def test_one_class_alone_is_certain() -> None:
    log_p = np.zeros((2, 1))
    assert (u.margin(log_p).tolist(), u.entropy(log_p).tolist()) == ([1, 1], [0, 0])
