"""Sizes and counts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sizes import parse_bytes, parse_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("150k", 150_000),
        ("1.5M", 1_500_000),
        ("2B", 2 * 10**9),
        ("1e9", 10**9),
        (" 7 ", 7),
        ("1_000", 1000),
        ("-3", -3),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("256MB", 256_000_000),
        ("64MiB", 1 << 26),
        ("1.5 GB", 1_500_000_000),
        ("12b", 12),
        ("3k", 3000),
        ("2Ti", 1 << 41),
    ],
)
def test_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@given(st.integers(0, 10**15), st.sampled_from([("k", 3), ("M", 6), ("B", 9), ("T", 12)]))
def test_a_count_with_a_unit_is_exact(count: int, unit: tuple[str, int]) -> None:
    assert parse_count(f"{count}{unit[0]}") == count * 10 ** unit[1]


@given(st.integers(0, 10**9))
def test_decimals_do_not_go_through_floats(thousandths: int) -> None:
    assert parse_bytes(f"{thousandths // 1000}.{thousandths % 1000:03d}kB") == thousandths


@pytest.mark.parametrize("text", ["", "k", "12XB", "1.5", "0.0001k", "1k5", "nan", "1e9999"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no count|whole number"):
        parse_count(text)


@pytest.mark.parametrize("text", ["", "MB", "12XB", "0.5", "i", "5 bananas"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|whole number"):
        parse_bytes(text)
