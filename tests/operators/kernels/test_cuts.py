"""Cuts against byte slicing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import CUTS
from operators.kernels.cuts import apply_cuts, bytes_cut, deletions, reference

Row = tuple[str | None, list[tuple[int, int, str | None]] | None]


def cut_column(rows: list[list[tuple[int, int, str | None]] | None]) -> pa.Array:
    named = [
        None if cuts is None else [{"start": a, "end": b, "text": t} for a, b, t in cuts] for cuts in rows
    ]
    return pa.array(named, CUTS)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    text = draw(st.none() | st.text(max_size=12))
    size = len(text or "")
    places = sorted(draw(st.lists(st.integers(0, size), max_size=6)))
    byte = [len((text or "")[:p].encode()) for p in places[: len(places) // 2 * 2]]
    fills = draw(st.lists(st.none() | st.text(max_size=3), min_size=3, max_size=3))
    cuts = [(byte[2 * i], byte[2 * i + 1], fills[i]) for i in range(len(byte) // 2)]
    return text, draw(st.sampled_from([cuts, cuts, None]))


@given(st.lists(rows(), max_size=8), st.integers(0, 3))
def test_equals_slicing(some: list[Row], skip: int) -> None:
    texts = pa.array([text for text, _ in some], pa.large_string())[skip:]
    cuts = cut_column([c for _, c in some])[skip:]
    expected = [
        None
        if t is None
        else reference(t.encode(), [(a, b, (f or "").encode()) for a, b, f in c or []]).decode()
        for t, c in some[skip:]
    ]
    after = apply_cuts(texts, cuts).to_pylist()
    assert after == expected
    both = zip(bytes_cut(cuts).tolist(), texts.to_pylist(), after, strict=True)
    assert all(lost == len(a.encode()) - len(b.encode()) for lost, a, b in both if a is not None)


@pytest.mark.parametrize("cuts", [[(0, 9, "")], [(2, 1, "")], [(0, 3, ""), (2, 4, "")], [(1, 4, "")]])
def test_wrong_cuts_are_named(cuts: list[tuple[int, int, str | None]]) -> None:
    texts = pa.array(["fine", "éa bc"], pa.large_string())
    with pytest.raises(ValueError, match="row 1 of the batch"):
        apply_cuts(texts, cut_column([None, cuts]))


def test_deletions() -> None:
    row, start, end = np.array([1, 1, 3]), np.array([0, 4, 2]), np.array([1, 6, 3])
    expected = cut_column([None, [(0, 1, None), (4, 6, None)], None, [(2, 3, None)]])
    assert deletions(row, start, end, 4).equals(expected)
    assert deletions(row[:0], start[:0], end[:0], 2).equals(cut_column([None, None]))
