"""MurmurHash3_x64_128 against the published vector, its reference, and what a good hash does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.hash128 import hash_text, hash_texts, reference
from operators.kernels.text_buffers import text_buffers


def hashed(texts: list[str], squeezed: bool = False) -> np.ndarray:
    return hash_texts(*text_buffers(pa.array(texts, pa.large_string())), squeezed)


def test_the_published_vector() -> None:
    low, high = hash_text(pa.array(["The quick brown fox jumps over the lazy dog"], pa.large_string()))
    assert (int(low[0]), int(high[0])) == (0xE34BBC7BBC071B6C, 0x7A433CA9C49A9347)


@given(st.lists(st.binary(max_size=70), min_size=1))
def test_equals_the_reference(texts: list[bytes]) -> None:
    data = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([len(text) for text in texts])
    starts = np.concatenate(([0], ends[:-1]))
    got = hash_texts(data, starts, ends, squeezed=False)
    assert [tuple(row) for row in got[:, :2].tolist()] == [reference(text) for text in texts]


def test_one_bit_of_input_changes_half_of_the_output() -> None:
    base = np.random.default_rng(0).integers(0, 256, 40).astype(np.uint8)
    flipped = np.stack([base ^ np.eye(40, dtype=np.uint8)[bit // 8] * (1 << bit % 8) for bit in range(320)])
    data = np.concatenate([base[None], flipped]).astype(np.uint8)
    ends = 40 * np.arange(1, 322)
    halves = hash_texts(data.reshape(-1), ends - 40, ends, squeezed=False)[:, :2].copy()
    bits = np.unpackbits((halves[1:] ^ halves[0]).view(np.uint8).reshape(320, 16), axis=1)
    assert abs(bits.mean() - 0.5) < 0.01
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.15  # 320 samples: 5 standard errors are 0.14


def test_low_bits_are_spread_evenly() -> None:
    low = hashed([f"document {i}" for i in range(20_000)])[:, 0]
    counts = np.bincount((low % np.uint64(16)).astype(np.int64), minlength=16)
    assert ((counts - 1250) ** 2 / 1250).sum() < 40  # chi-square, 15 degrees: p = 0.0005


@given(st.lists(st.text(), min_size=1))
def test_squeezed_texts_are_hashed_as_python_squeezes_them(texts: list[str]) -> None:
    plain = [" ".join(text.lower().split()) for text in texts]
    assert (hashed(texts, squeezed=True) == hashed(plain)).all()


def test_slices_and_nulls() -> None:
    texts = pa.array(["a", None, "b", ""], pa.large_string())
    whole, part = hash_text(texts)[0], hash_text(texts.slice(1))[0]
    assert whole[1:].tolist() == part.tolist()
    assert whole[1] == whole[3]
