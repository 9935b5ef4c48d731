"""Class counts are those of imbalanced-learn's rules; which rows stay depends on keys alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.undersample import Undersample

LABELS = ["a"] * 50 + ["b"] * 20 + ["c"] * 7


def kept_rows(fields: dict[str, Any], labels: list[Any], **how: Any) -> list[int]:
    data = pa.table({"label": pa.array(labels)})
    drop = run(Undersample(seed=5, **fields), data, **how).column("drop").to_pylist()
    assert set(drop) <= {None, "undersampled"}
    return [i for i, reason in enumerate(drop) if reason is None]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        # RandomUnderSampler(sampling_strategy="not minority")
        ({"to": "smallest"}, {"a": 7, "b": 7, "c": 7}),
        # the float of sampling_strategy for two classes: int(minority / ratio)
        ({"ratio": 0.5}, {"a": 14, "b": 14, "c": 7}),
        ({"ratio": 0.3}, {"a": 23, "b": 20, "c": 7}),
        ({"cap": 10}, {"a": 10, "b": 10, "c": 7}),
        ({"cap": {"a": 1, "*": 3}}, {"a": 1, "b": 3, "c": 3}),
        ({"keep_share": 0.5}, {"a": 25, "b": 10, "c": 3}),
    ],
)
def test_class_counts(fields: dict[str, Any], counts: dict[str, int]) -> None:
    kept = kept_rows({"by": "label", **fields}, LABELS)
    assert Counter(LABELS[i] for i in kept) == counts


def test_without_groups() -> None:
    assert len(kept_rows({"keep_rows": 30}, LABELS)) == 30
    assert len(kept_rows({"keep_share": 0.29}, [0] * 100)) == 29
    assert kept_rows({"keep_rows": 10**9}, LABELS) == list(range(len(LABELS)))


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 77)), st.sampled_from([{"to": "smallest"}, {"cap": 9}, {"ratio": 0.7}]))
def test_the_same_rows_for_any_cut(bounds: set[int], rule: dict[str, Any]) -> None:
    whole = kept_rows({"by": "label", **rule}, LABELS)
    assert kept_rows({"by": "label", **rule}, LABELS, cut=sorted(bounds)) == whole


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    few, many = (set(kept_rows({"keep_share": share}, LABELS)) for share in (0.2, 0.6))
    assert few < many


def test_every_row_is_as_likely() -> None:
    times = np.zeros(12)
    for seed in range(200):
        data = pa.table({"label": pa.array([0] * 12)})
        drop = run(Undersample(seed=seed, keep_rows=3), data).column("drop")
        times += np.array([reason is None for reason in drop.to_pylist()])
    assert (np.abs(times / 200 - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 200)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "got none"),
        ({"cap": 3}, "cap needs `by`"),
        ({"by": "label", "keep_rows": 3}, "with `by` give cap"),
        ({"by": "label", "cap": 3, "to": "smallest"}, "got to, cap"),
    ],
)
def test_rules_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Undersample(**fields)
