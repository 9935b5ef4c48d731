"""Vector instructions against Python, byte by byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from operators.kernels import simd
from operators.kernels.units import fold_product_reference

UINT64 = st.integers(0, 2**64 - 1)


@njit
def folded(source: Any, i: int, out: Any, at: int, flags: Any) -> Any:
    return simd.fold_block(source, i, out, at, flags[0], flags[1], flags[2])


@njit
def looked(source: Any, i: int) -> Any:
    return simd.nonzero_block(source, i), simd.eight_bytes(source, i)


@njit
def counted(x: Any, y: Any) -> Any:
    return simd.fold_product(x, y), simd.first_bit(x), simd.bit_count(x)


def bits(flags: Any) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


@pytest.mark.parametrize("first", range(0, 256, 64))
@pytest.mark.parametrize("fold", [0, 255])
@pytest.mark.parametrize(("zero", "punctuation"), [(0, 0), (255, 0), (0, 255), (255, 255)])
def test_every_byte_is_folded_and_special_where_asked(
    first: int, fold: int, zero: int, punctuation: int
) -> None:
    chars = [chr(c) for c in range(first, first + 64)]
    source = np.arange(256, dtype=np.uint8)
    out, flags = np.full(70, 7, np.uint8), np.array([fold, zero, punctuation], np.uint8)
    special = folded(source, first, out, 3, flags)
    word = [c.isascii() and (c.isalnum() or c == "_") for c in chars]
    want = [ord(c.lower() if fold else c) if w else 0 for c, w in zip(chars, word, strict=True)]
    assert out.tolist() == [7] * 3 + want + [7] * 3
    assert int(special) == bits(
        not c.isascii() or (zero and c.isdigit()) or (punctuation and not w and not c.isspace())
        for c, w in zip(chars, word, strict=True)
    )


@given(st.binary(min_size=64, max_size=64), st.integers(0, 3))
def test_blocks_and_words_at_any_place(block: bytes, i: int) -> None:
    source = np.frombuffer(bytearray(i) + block, np.uint8)
    mask, word = looked(source, i)
    assert int(mask) == bits(block)
    assert int(word) == int.from_bytes(block[:8], "little")


@given(UINT64, UINT64)
def test_products_and_bits(x: int, y: int) -> None:
    product, first, count = counted(np.uint64(x), np.uint64(y))
    assert int(product) == fold_product_reference(x, y)
    assert (int(first), int(count)) == ((x & -x).bit_length() - 1 if x else 64, x.bit_count())
