"""renamed: columns of parts under a recipe's own names (in whole runs: tests/gpu_ops/test_loss_gap.py)."""

from __future__ import annotations

import pyarrow as pa

from operators.loss_difference import LossDifference
from operators.renamed import Renamed


def test_it_hands_columns_on_as_they_are() -> None:
    values = pa.array([1.5, None], pa.float32())
    op = Renamed(columns_of={"shown": "/made.value"})
    batch = pa.RecordBatch.from_arrays([values], ["/made.value"])
    assert op.columns(batch, {}) == {"shown": values}
    assert op.adds == {"shown": pa.float32()}
    assert op.reads == {"/made.value": pa.float32()}


def test_a_difference_reads_what_its_recipe_makes() -> None:
    assert list(LossDifference().reads) == ["/learner.loss_per_byte", "/reference.loss_per_byte"]
