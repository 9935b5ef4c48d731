"""Labels that moved."""

from __future__ import annotations

import pyarrow as pa

from operators.cluster_moved import ClusterMoved


def test_counts_new_labels() -> None:
    op = ClusterMoved(first=False)
    labels = {"/spread.label": pa.array([0, 0, 1]), "last.spread.label": pa.array([0, 1, 2])}
    batch = pa.RecordBatch.from_pydict(labels)
    state = op.merge(op.fold(batch, {}), op.fold(batch.slice(0, 2), {}))
    assert op.finish(state, {})["moved"].tolist() == [3]
    assert op.columns(batch, state) == {}
