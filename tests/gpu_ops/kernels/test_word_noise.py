"""Word noise: how much it changes, that it depends on nothing but its luck, and scripts without spaces."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ops.kernels.word_noise import KINDS, luck_of, noisy_text

BITS = st.integers(0, 2**64 - 1)
TEXT = "One day, a girl\tnamed Lily  saw\na big red ball. " * 50


@given(st.text(), st.sampled_from(KINDS), st.floats(0.01, 1), BITS)
def test_what_stays(text: str, kind: str, rate: float, bits: int) -> None:
    made = noisy_text(text, kind, rate, bits)
    assert made == noisy_text(text, kind, rate, bits)
    before, after = text.split(), made.split()
    if kind == "drop":
        assert bool(after) == bool(before)
        assert not Counter(after) - Counter(before)
        assert len(after) < len(before) or len(before) < 2
    elif kind == "swap":
        assert Counter(after) == Counter(before)
    else:
        assert len(after) == len(before)
    if kind == "typo" and before:
        assert len(made) in range(len(text), len(text) + len(before) + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_about_the_rate_changes(kind: str) -> None:
    words = TEXT.split()
    changed = []
    for bits in luck_of(7, np.arange(20, dtype=np.uint64)).tolist():
        after = noisy_text(TEXT, kind, 0.1, bits).split()
        if kind == "drop":
            changed.append(len(words) - len(after))
        elif kind == "swap":
            changed.append(sum(a != b for a, b in zip(words, after, strict=True)) / 2)
        else:
            changed.append(sum(a != b for a, b in zip(words, after, strict=True)))
    assert np.mean(changed) == pytest.approx(0.1 * len(words), rel=0.25)
    assert len(set(changed)) > 3  # not the same in every row


def test_every_kind_changes_a_short_text() -> None:
    for kind in KINDS:
        assert noisy_text("so good", kind, 0.001, 5) != "so good"
    assert noisy_text("好", "typo", 0.1, 5) == "好好"
    assert noisy_text("好", "surface", 0.1, 5) == "好,"
    assert noisy_text("Well-known!", "surface", 0.1, 5) == "wELLKNOWN"
    assert noisy_text("alone", "drop", 0.9, 5) == noisy_text("alone", "swap", 0.9, 5) == "alone"
    assert noisy_text("", "typo", 0.5, 5) == ""


def test_luck_depends_on_the_seed_and_the_key_alone() -> None:
    key = np.arange(100, dtype=np.uint64)
    luck = luck_of(3, key)
    assert len(set(luck.tolist())) == 100
    assert not (luck == luck_of(4, key)).any()
    np.testing.assert_array_equal(luck_of(3, key[::-1])[::-1], luck)
