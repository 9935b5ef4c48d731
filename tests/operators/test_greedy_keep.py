"""The greedy loop over given edges."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run

from operators.greedy_keep import GreedyKeep


@given(
    st.lists(st.lists(st.integers(0, 19), max_size=4), min_size=20, max_size=20),
    st.sampled_from([0, 5, 1000]),
    st.integers(1, 20),
)
def test_against_a_loop_in_python(wanted: list[list[int]], solve_up_to: int, batch_rows: int) -> None:
    edges = [sorted({j for j in one if j < i}) for i, one in enumerate(wanted)]
    followed = {j for one in edges for j in one}
    kept: list[bool] = []
    for one in edges:
        kept.append(not any(kept[j] for j in one))
    table = pa.table(
        {
            "/rank.rank": pa.array([0] * 20, pa.uint64()),
            "/verify.edges": pa.array(edges, pa.list_(pa.int64())),
            "/followed.followed": [i in followed for i in range(20)],
        }
    )
    status = run(GreedyKeep(solve_up_to=solve_up_to), table, batch_rows)["status"].to_pylist()
    assert [one == 1 for one in status] == kept
    assert set(status) <= {1, 2}
