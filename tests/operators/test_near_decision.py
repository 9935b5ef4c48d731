"""The greedy loop over given edges."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run

from operators.near_decision import NearDecision

EDGE = st.tuples(st.integers(0, 19), st.sampled_from([0.5, 0.75, 1.0]))


def table(edges: list[dict[int, float]], twin: list[int | None]) -> pa.Table:
    n, followed = len(edges), {j for one in edges for j in one}
    return pa.table(
        {
            "/rank.tier": pa.array([0] * n, pa.uint16()),
            "/rank.rank": pa.array([0] * n, pa.uint64()),
            "/signature.shingles": pa.array([0] + [7] * (n - 1), pa.int32()),
            "/same.twin": pa.array(twin, pa.int64()),
            "/same.twinned": [i in twin for i in range(n)],
            "/verify.edges": pa.array([sorted(one) for one in edges], pa.list_(pa.int64())),
            "/verify.similarity": pa.array(
                [[one[j] for j in sorted(one)] for one in edges], pa.list_(pa.float32())
            ),
            "/followed.followed": [i in followed for i in range(n)],
            "/reverify.edges": pa.array([[]] * n, pa.list_(pa.int64())),
            "/reverify.similarity": pa.array([[]] * n, pa.list_(pa.float32())),
            "/heard.followed": [False] * n,
            "/clusters.cluster": pa.array(range(n), pa.int64()),
        }
    )


@given(
    st.lists(st.lists(EDGE, max_size=4), min_size=20, max_size=20),
    st.lists(st.one_of(st.none(), st.integers(0, 19)), min_size=20, max_size=20),
    st.sampled_from([0, 5, 1000]),
    st.integers(1, 20),
)
def test_against_a_loop_in_python(
    wanted: list[list[tuple[int, float]]], firsts: list[int | None], solve_up_to: int, batch_rows: int
) -> None:
    """Whatever is solved at once and whatever in rounds, each has the nearest of all that stay."""
    twin: list[int | None] = []
    for i, first in enumerate(firsts):
        twin.append(first if first is not None and first < i and twin[first] is None else None)
    edges = [
        {j: near for j, near in one if j < i and twin[i] is None and twin[j] is None}
        for i, one in enumerate(wanted)
    ]
    fate: list[tuple[int, float] | None] = []
    for i, one in enumerate(edges):
        stay = [(-near, j) for j, near in one.items() if fate[j] is None]
        found = (min(stay)[1], -min(stay)[0]) if stay else None
        first = twin[i]
        fate.append(found if first is None else fate[first] or (first, 1.0))
    out = run(NearDecision(solve_up_to=solve_up_to), table(edges, twin), batch_rows)
    assert out["kept"].to_pylist() == [one and one[0] for one in fate]
    assert out["similarity"].to_pylist() == [one and one[1] for one in fate]
    assert out["drop"].to_pylist() == [one and "near_duplicate" for one in fate]


def test_what_was_compared_with_nothing_is_told() -> None:
    out = run(NearDecision(clusters=True), table([{}, {}, {1: 0.5}], [None] * 3))
    assert out["shingles"].to_pylist() == [None, 7, 7]
    assert out["cluster"].to_pylist() == [0, 1, 2]
