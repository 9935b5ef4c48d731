"""Tomek links are imbalanced-learn's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from class_clouds import data_of, kept_by, table_batches, table_of, theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.under_sampling import TomekLinks as Theirs
from memory_engine import run

from gpu_ops.tomek_links import TomekLinks

seeds = st.integers(0, 10**6)
some = settings(max_examples=15, deadline=None)


@some
@given(seeds, st.sampled_from(["not minority", "majority", "all"]))
def test_tomek_links_are_imbalanced_learns(seed: int, classes: str) -> None:
    x, label = data_of(seed)
    op = TomekLinks(classes=classes.replace(" ", "_"))
    assert kept_by(op, x, label) == theirs(Theirs(sampling_strategy=classes), x, label)


def test_a_link_names_both_its_rows() -> None:
    x = np.array([[0.0], [1.0], [1.1], [3.0]])
    found = run(TomekLinks(), table_of(x, ["a", "a", "b", "a"], uid=pa.array([10, 20, 30, 40])))
    assert found["link"].to_pylist() == [None, 30, 20, None]
    assert found["drop"].to_pylist() == [None, "tomek_link", None, None]


def test_a_listed_class_that_no_row_has_is_told() -> None:
    table = table_of(np.array([[0.0], [1.0], [1.1], [3.0]]), ["a", "a", "b", "a"])
    told = []
    for classes in (["a"], ["a", "bb", 3], "all"):
        op = TomekLinks(classes=classes)
        told.append(op.tell(op.fit(iter(table_batches(table)), "cpu", {})))
    assert told[1] == f"no row is of the class 'bb', '3'\n{told[0]}"
    assert "no row" not in told[2]
