"""Buckets are those of sorting the whole corpus, for any cut of it, by group, with ties and nulls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.bucket_choice import BucketChoice
from operators.bucket_key import BucketKey
from operators.perplexity_buckets import PerplexityBuckets

LOSSES = st.none() | st.floats(width=32) | st.sampled_from([1.5, 2.5, -0.0, 0.0, math.inf, math.nan])
ROWS = st.lists(st.tuples(LOSSES, st.sampled_from(["en", "de", None])), max_size=40)


def buckets(losses: list[Any], groups: list[Any] | None = None, **fields: Any) -> pa.Table:
    how = {name: fields.pop(name) for name in ("batch_rows", "cut") if name in fields}
    data = {"loss": pa.array(losses, pa.float32())}
    if groups is not None:
        data["language"] = pa.array(groups, pa.string())
        fields["by"] = "language"
    return run(PerplexityBuckets(**fields), pa.table(data), **how)


def by_sorting(losses: list[Any], hundredths: tuple[int, ...] = (30, 60)) -> list[str | None]:
    """The definition, in Python's own sorting."""
    known = [i for i, loss in enumerate(losses) if loss is not None and not math.isnan(loss)]
    known.sort(key=lambda i: (losses[i], i))
    ends = [len(known) * part // 100 for part in hundredths]
    out: list[str | None] = [None] * len(losses)
    for rank, i in enumerate(known):
        out[i] = ("head", "middle", "tail")[sum(rank >= end for end in ends)]
    return out


@settings(max_examples=30, deadline=None)
@given(ROWS, st.sets(st.integers(0, 40)))
def test_equals_a_sort(rows: list[Any], bounds: set[int]) -> None:
    losses = [loss for loss, _ in rows]
    got = buckets(losses, cut=sorted(b for b in bounds if b <= len(rows)))
    assert got.column("bucket").to_pylist() == by_sorting(losses)
    assert got.column("drop").to_pylist() == [None] * len(rows)


@settings(max_examples=20, deadline=None)
@given(ROWS, st.integers(1, 9))
def test_each_group_has_its_percentiles(rows: list[Any], size: int) -> None:
    losses, groups = [loss for loss, _ in rows], [group for _, group in rows]
    got = buckets(losses, groups, batch_rows=size).column("bucket").to_pylist()
    for group in ("en", "de", None):
        mine = [i for i, other in enumerate(groups) if other == group]
        assert [got[i] for i in mine] == by_sorting([losses[i] for i in mine])


def test_percentiles_of_numpy() -> None:
    """Without ties a bucket is what lies below numpy's percentile."""
    losses = np.random.default_rng(3).permutation(1000).astype(np.float32)
    got = np.array(buckets(losses.tolist()).column("bucket").to_pylist())
    low, high = np.percentile(losses, [30, 60], method="higher")
    assert (got == np.where(losses < low, "head", np.where(losses < high, "middle", "tail"))).all()


def test_reasons() -> None:
    losses = [5.0, 1.0, None, 3.0, math.nan, 2.0, 4.0]
    got = buckets(losses, keep=["middle"], missing="drop", percentiles=[20, 60])
    assert got.to_pylist() == [
        {"drop": "tail_bucket", "bucket": "tail"},
        {"drop": "head_bucket", "bucket": "head"},
        {"drop": "no_loss", "bucket": None},
        {"drop": None, "bucket": "middle"},
        {"drop": "no_loss", "bucket": None},
        {"drop": None, "bucket": "middle"},
        {"drop": "tail_bucket", "bucket": "tail"},
    ]
    kept = buckets(losses, keep=["middle"], percentiles=[20, 60])
    assert kept.column("drop").to_pylist()[2:5] == [None] * 3


def test_percentiles_are_decimals() -> None:
    """0.29 of 100 rows are 29, though 100 * 0.29 is 28.999999999999996."""
    got = buckets(list(range(1000)), percentiles=[2.9, 33.3]).column("bucket").to_pylist()
    assert [got.count(name) for name in ("head", "middle", "tail")] == [29, 304, 667]


def test_the_parts_by_themselves() -> None:
    batch = pa.RecordBatch.from_pydict({"loss": pa.array([2.0, None, -1.0, math.inf])})
    key = BucketKey(loss="loss").columns(batch, {})
    order = key["priority"].to_pylist()
    assert order[1] is None
    assert order[2] > order[0] > order[3]
    within = pa.RecordBatch.from_pydict({"/cut0.within": pa.array([True, False, None])})
    got = BucketChoice(names=("low", "high"), keep=("low",)).columns(within, {})
    assert got["bucket"].to_pylist() == ["low", "high", None]
    assert got["drop"].to_pylist() == [None, "high_bucket", None]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"percentiles": [60, 30]}, r"percentiles \[60.0, 30.0\] must ascend"),
        ({"percentiles": [50]}, "1 percentiles make 2 buckets"),
        ({"names": ["a", "a", "b"]}, "as many different names, not a, a, b"),
        ({"keep": ["heads"]}, "no bucket 'heads'; there are head, middle, tail"),
        ({"percentiles": [0, 50]}, "greater than 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PerplexityBuckets(**fields)
