"""The greedy solution of gathered edges against a loop in Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.asking import TWIN
from operators.kernels.edges import best_of_each, open_edges, solve

NEAR = st.sampled_from([0.5, 0.75, 1.0])


def gathered(
    edges: list[tuple[int, int, float]], rank: list[int], known: bool = False
) -> dict[str, np.ndarray]:
    uid, partner, similarity = (np.array(column) for column in zip(*edges, strict=True))
    return {
        "uid": uid,
        "tier": np.array([rank[i] // 4 for i in uid], np.uint16),
        "rank": np.array([rank[i] % 4 for i in uid], np.uint64),
        "partner": partner,
        "similarity": similarity.astype(np.float32),
        "known": np.full(len(uid), known),
    }


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 11), NEAR), max_size=3), min_size=12, max_size=12),
    st.permutations(range(12)),
)
def test_against_a_loop(wanted: list[list[tuple[int, float]]], rank: list[int]) -> None:
    edges = [
        (i, j, near) for i, one in enumerate(wanted) for j, near in dict(one).items() if rank[j] < rank[i]
    ]
    if not edges:
        return
    kept: dict[int, bool] = {}
    want: dict[int, tuple[int, float]] = {}
    for i in sorted(range(12), key=rank.__getitem__):
        stay = [(-near, j) for a, j, near in edges if a == i and kept[j]]
        kept[i] = not stay
        want[i] = (min(stay)[1], -min(stay)[0]) if stay else (-1, 0.0)
    uid, partner, similarity = solve(gathered(edges, rank))
    assert uid.tolist() == sorted({i for i, _, _ in edges})
    got = list(zip(partner.tolist(), similarity.tolist(), strict=True))
    assert got == [want[i] for i in uid.tolist()]


def test_a_twin_shares_the_fate_of_its_first() -> None:
    """1 goes for 0, its twin 2 too, with the same similarity; 4 is the twin of 3, which stays."""
    edges = [(1, 0, 0.9), (2, 1, float(TWIN)), (4, 3, float(TWIN))]
    uid, partner, similarity = solve(gathered(edges, [0] * 5))
    assert uid.tolist() == [1, 2, 4]
    assert partner.tolist() == [0, 0, 3]
    assert similarity.round(3).tolist() == [np.float32(0.9).round(3), np.float32(0.9).round(3), 1.0]


def test_what_is_known_already_counts() -> None:
    """The partner 9 was decided in a round before: it stays, whatever the edges say."""
    one, other = (
        gathered([(5, 9, 0.5)], [0] * 10, known=True),
        gathered([(5, 4, 0.75), (9, 5, 0.5)], [0] * 10),
    )
    uid, partner, _ = solve({name: np.concatenate([one[name], other[name]]) for name in one})
    assert dict(zip(uid.tolist(), partner.tolist(), strict=True)) == {5: 4, 9: -1}


def test_no_edges() -> None:
    none = {name: values[:0] for name, values in gathered([(0, 0, 0.0)], [0]).items()}
    assert [len(part) for part in solve(none)] == [0, 0, 0]


def test_open_edges_begin_with_what_was_verified_and_with_twins() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "/same.twin": pa.array([None, 0, None, 0], pa.int64()),
            "/verify.edges": pa.array([[], [], [0, 1], None], pa.list_(pa.int64())),
            "/verify.similarity": pa.array([[], [], [0.5, 1], None], pa.list_(pa.float32())),
            "/near.cut": [False] * 4,
            "uid": pa.array(range(4), pa.int64()),
        }
    )
    lengths, partner, nearness = open_edges(batch, "verify")
    assert lengths.tolist() == [0, 1, 2, 1]
    assert partner.tolist() == [0, 0, 1, 0]
    assert nearness.tolist() == [TWIN, 0.5, 1, TWIN]


def test_the_best_is_the_nearest_then_the_first() -> None:
    row, partner = np.array([0, 0, 2, 2]), np.array([7, 3, 9, 4])
    best, near = best_of_each(4, row, partner, np.array([0.5, 0.5, 0.75, 0.5], np.float32))
    assert best.tolist() == [3, -1, 9, -1]
    assert near.tolist() == [0.5, 0, 0.75, 0]
