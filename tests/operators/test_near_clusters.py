"""Components against scipy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from operators.near_clusters import NearClusters


def table(edges: list[list[int]]) -> pa.Table:
    followed = {j for one in edges for j in one}
    n = len(edges)
    return pa.table(
        {
            "/same.twin": pa.array([None] * n, pa.int64()),
            "/same.twinned": [False] * n,
            "/verify.edges": pa.array(edges, pa.list_(pa.int64())),
            "/followed.followed": [i in followed for i in range(n)],
        }
    )


@given(st.lists(st.lists(st.integers(0, 29), max_size=2), min_size=30, max_size=30), st.integers(1, 30))
def test_against_scipy(wanted: list[list[int]], batch_rows: int) -> None:
    edges = [sorted({j for j in one if j != i}) for i, one in enumerate(wanted)]
    pairs = np.array([(i, j) for i, one in enumerate(edges) for j in one], int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(30, 30))
    _, label = connected_components(graph, directed=False)
    least = [int(np.flatnonzero(label == one)[0]) for one in label]
    assert run(NearClusters(), table(edges), batch_rows)["cluster"].to_pylist() == least


def test_a_long_chain_takes_few_rounds() -> None:
    op, rounds = NearClusters(), []
    done = NearClusters.done

    class Counted(NearClusters):
        def done(self, state: dict, round: int) -> bool:
            rounds.append(round)
            return done(op, state, round)

    edges = [[i - 1] if i else [] for i in range(500)]
    assert set(run(Counted(), table(edges), 100)["cluster"].to_pylist()) == {0}
    assert len(rounds) < 20
