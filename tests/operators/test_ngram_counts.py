"""Hashed n-gram counts equal plain Python, for any bytes, any n and any cut."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World

from operators.kernels.ngrams import reference_buckets, reference_tokens
from operators.ngram_counts import NgramCounts

TEXTS = st.lists(st.text(st.sampled_from("aBz09_.-é日 \n\t\x00") | st.characters(codec="utf-8")), max_size=8)
ORDERS = st.sampled_from([(1,), (2,), (1, 2), (1, 3), (2, 3, 5)])


def counts_of(op: NgramCounts, texts: list[str], cut: list[int]) -> np.ndarray:
    world = World(pa.table({"text": pa.array(texts, pa.large_string())}), 1000, cut)
    world.execute("counts", op, {})
    return np.asarray(world.artifacts["counts"]["counts"])


@given(st.text())
def test_tokens_are_those_of_a_regular_expression(text: str) -> None:
    lowered = re.sub("[A-Z]", lambda m: m[0].lower(), text)
    expected = re.findall(r"(?:[a-z0-9]|[^\x00-\x7f])+|[^ \t\n\r\f\v]", lowered)
    assert [t.decode("utf-8", "surrogatepass") for t in reference_tokens(text.encode())] == expected


@settings(deadline=None)
@given(TEXTS, ORDERS, st.sets(st.integers(0, 8)))
def test_equals_plain_python(texts: list[str], orders: tuple[int, ...], cut: set[int]) -> None:
    got = counts_of(NgramCounts(ngrams=orders, buckets=97), texts, sorted(cut))
    expected = Counter(b for t in texts for b in reference_buckets(t.encode(), orders, 97))
    assert got.tolist() == [expected[b] for b in range(97)]


@pytest.mark.parametrize("piece", ["a ", "word-", "ab", "x.", "é, "])
def test_long_texts_go_through_scratch_in_pieces(piece: str) -> None:
    text = "".join(piece + str(i % 7) for i in range(9000))
    got = counts_of(NgramCounts(ngrams=(1, 2, 4), buckets=1000), ["short one", text], [])
    expected = Counter(b for t in ("short one", text) for b in reference_buckets(t.encode(), (1, 2, 4), 1000))
    assert got.tolist() == [expected[b] for b in range(1000)]


def test_broken_bytes_and_nulls() -> None:
    raw = pa.array([b"\xff\xfe a", None, b"\xe2\x82"], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), 3, raw.buffers())
    got = NgramCounts(buckets=50).fold(pa.RecordBatch.from_pydict({"text": text}), {})["counts"]
    expected = Counter(b for t in (b"\xff\xfe a", b"", b"\xe2\x82") for b in reference_buckets(t, (1, 2), 50))
    assert got.tolist() == [expected[b] for b in range(50)]


def test_hashes_are_stored_and_stay_the_same() -> None:
    assert reference_buckets("Hello, wörld 7".encode(), (1, 2), 10_000) == [
        898,
        6784,
        8472,
        4801,
        3230,
        7085,
        6464,
    ]


def test_many_buckets_are_used_evenly() -> None:
    texts = [f"w{i}" for i in range(20_000)]
    got = counts_of(NgramCounts(ngrams=(1,), buckets=100), texts, [])
    assert np.abs(got - 200).max() < 6 * np.sqrt(200)


@pytest.mark.parametrize(
    ("orders", "message"),
    [((), "at least 1"), ((2, 1), "ascend"), ((1, 1), "ascend"), ((0,), "greater than")],
)
def test_orders_that_make_no_sense_are_refused(orders: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NgramCounts(ngrams=orders)
