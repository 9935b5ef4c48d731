"""What all operators share that thin classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import data_of, kept_by, table_batches, table_of
from memory_engine import run

from gpu_ops.edited_neighbours import EditedNeighbours
from gpu_ops.kernels.thinning import ThinOp
from gpu_ops.near_miss import NearMiss
from gpu_ops.tomek_links import TomekLinks


@pytest.mark.parametrize("op", [TomekLinks, EditedNeighbours])
def test_groups_are_looked_at_by_themselves(op: Any) -> None:
    x, label = data_of(5)
    part = np.arange(len(x)) % 2
    found = run(op(group="part"), table_of(x, label, part=part))["drop"].to_pylist()
    for number in (0, 1):
        mine = np.flatnonzero(part == number)
        alone = run(op(classes=(0, 1)), table_of(x[mine], label[mine]))["drop"].to_pylist()
        assert [found[i] for i in mine] == alone


@pytest.mark.parametrize("cut", [None, [1], [0, 0, 3, 7, 7]])
@pytest.mark.parametrize("op", [NearMiss(), TomekLinks(mark=True), EditedNeighbours(variant="repeated")])
def test_any_cut_gives_the_same(op: ThinOp, cut: list[int] | None) -> None:
    table = table_of(*data_of(3))
    assert run(op, table, cut=cut).equals(run(op, table))


def test_rows_without_label_or_vector() -> None:
    vectors = pa.array([[0.0], [1.0], None, [float("nan")], [1.0], [1.5], []])
    table = pa.table({"embedding": vectors, "label": [0, 0, 0, 0, None, 1, 0]})
    found = run(NearMiss(neighbours=1), table)
    assert found["drop"].to_pylist() == ["not_near", None, *["not_comparable"] * 3, None, "not_comparable"]
    found = run(TomekLinks(mark=True), table)
    assert found["kept"].to_pylist() == [True, False, None, None, None, True, None]
    state = TomekLinks().fit(iter(table_batches(table)), "cpu", {})
    assert TomekLinks().tell(state).splitlines() == [
        "'0': 2 -> 1 rows",
        "'1': 1 -> 1 rows",
        "4 rows without a label or a vector of numbers below 1e18 took no part",
    ]


@pytest.mark.parametrize("op", [NearMiss(variant=2), TomekLinks(), EditedNeighbours(variant="all_knn")])
def test_nothing_and_one_row(op: ThinOp) -> None:
    assert run(op, table_of(np.zeros((0, 2)), pa.array([], pa.int64()))).num_rows == 0
    assert run(op, table_of(np.zeros((1, 2)), [4]))["drop"].to_pylist() == [None]


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="got to, cap"):
        NearMiss(to="smallest", cap=3)
    with pytest.raises(ValueError, match="no budget for '1' of label"):
        kept_by(NearMiss(cap={0: 3}), *data_of(1))
