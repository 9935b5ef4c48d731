"""Syllables of words that a dictionary has, and the kernel against its reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.kernels.jit import kernel
from operators.kernels.syllables import count_syllables, reference

# As the CMU Pronouncing Dictionary has them.
KNOWN = {
    1: "a the made makes played asked strength called cheese yes through quick",
    2: "table tables boxes changes wanted create people being doing purely movement useless faces client",
    3: "medium radio animal computer various manual video creating readable natural",
    4: "information environment community ability",
    5: "university imagination americana capitalism",
}

_ENDS = "e es ed ing ings ely ement ements eful eless eness ism isms yed le les led ent"
ENDS = st.sampled_from(["", *_ENDS.split()])


@kernel
def _call(word, size):  # type: ignore[no-untyped-def]
    return count_syllables(word, size)


def counted(word: str) -> int:
    return int(_call(np.frombuffer(word.encode() + b"\0", np.uint8), len(word)))


@pytest.mark.parametrize("many", KNOWN)
def test_words_of_the_dictionary(many: int) -> None:
    words = KNOWN[many].split()
    assert {word: counted(word) for word in words} == dict.fromkeys(words, many)


@settings(deadline=None, max_examples=1000)
@given(st.tuples(st.text(st.sampled_from("aeiouyldtshcgnmfkrx"), max_size=9), ENDS).map("".join))
@example("yle")
@example("yes")
@example("e")
def test_equals_its_reference(word: str) -> None:
    assert counted(word) == reference(word)
