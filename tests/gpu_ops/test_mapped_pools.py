"""Every selector chooses the same rows when the vectors of its pool come from a file, in half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import find, run

from gpu_ops.kernels import pool
from gpu_ops.kernels.selecting import SelectOp
from operators.contract import Kind, Operator
from pipeline.catalog import names

SELECTORS = [
    name
    for name in names()
    if issubclass(kind := find(name), SelectOp)
    and kind.examples
    and Kind.VECTOR in kind(**kind.examples[0]).reads.values()
]


def made_up(op: SelectOp, n: int = 120) -> pa.Table:
    """What the selector reads, with float16 vectors; probabilities are distributions over 3 classes."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for name, kind in op.reads.items():
        if name in ("uid", "key"):
            continue
        if kind is Kind.VECTOR:
            many = op.wanted.distributions.get(name, 0)  # one after the other
            x = rng.dirichlet(np.ones(3), (n, many)).reshape(n, -1) if many else rng.normal(size=(n, 6))
            columns[name] = pa.array(list(x.astype(np.float16)), pa.list_(pa.float16()))
        elif kind is Kind.NUMBER:
            columns[name] = rng.random(n)
        else:
            columns[name] = pa.array([None if i % 3 else "ab"[i % 2] for i in range(n)])
    return pa.table(columns)


@pytest.mark.parametrize("name", SELECTORS)
def test_the_choice_does_not_depend_on_where_vectors_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: type[Operator] = find(name)
    op = kind(**kind.examples[0])
    assert isinstance(op, SelectOp)
    table = made_up(op)
    expected = run(op, table)
    monkeypatch.setattr(pool, "IN_MEMORY", 100)
    assert run(op, table, batch_rows=17).equals(expected)
    assert expected["rank"].null_count < len(expected)


def test_there_are_selectors() -> None:
    assert {"k_center", "vote_k", "badge", "weighted_kmeans", "facility_location"} <= set(SELECTORS)
