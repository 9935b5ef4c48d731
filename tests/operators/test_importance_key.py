"""The key sorts like score plus noise; rows without a score have none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run

from operators.importance_key import ImportanceKey

SCORES = st.lists(st.none() | st.floats(), min_size=1, max_size=20)


def priorities(scores: list[Any], **fields: Any) -> list[int | None]:
    data = pa.table({"s": pa.array(scores, pa.float64())})
    return run(ImportanceKey(score="s", seed=1, **fields), data, batch_rows=3).column("priority").to_pylist()


@given(SCORES, st.booleans())
def test_a_rank_sorts_like_the_score(scores: list[float | None], descending: bool) -> None:
    got = priorities(scores, score_is="rank", descending=descending)
    assert got == priorities(scores, temperature=0.0, descending=descending)
    good = [i for i, s in enumerate(scores) if s is not None and math.isfinite(s)]
    assert [i for i, k in enumerate(got) if k is not None] == good
    sign = 1 if descending else -1
    x = np.array([sign * (scores[i] or 0.0) for i in good])
    keys = np.array([got[i] or 0 for i in good], np.uint64)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], x[:, None] < x[None, :])


def test_weights_are_log_weights_of_their_logarithm() -> None:
    weights = [1.0, 2.5, 1e-300, 7e250]
    assert priorities(weights, score_is="weight") == priorities(np.log(weights).tolist())
    assert priorities([0.0, math.inf, None, math.nan], score_is="weight") == [None] * 4


def test_integers_are_scores_too() -> None:
    data = pa.table({"s": pa.array([3, None, -2], pa.int32())})
    got = run(ImportanceKey(score="s", score_is="rank"), data).column("priority").to_pylist()
    assert got[1] is None
    assert got[0] > got[2]


def test_a_negative_weight_is_named() -> None:
    with pytest.raises(ValueError, match=r"s is -2.0 at uid 4; .* is it a log_weight\?"):
        priorities([1.0, 1.0, 1.0, 1.0, -2.0], score_is="weight")


@pytest.mark.parametrize(("value", "shown"), [(None, "None"), (math.nan, "nan"), (math.inf, "inf")])
def test_a_missing_score_is_an_error_on_request(value: float | None, shown: str) -> None:
    with pytest.raises(ValueError, match=f"s is {shown} at uid 1"):
        priorities([1.0, value], missing="error")


def test_only_what_is_needed_is_read() -> None:
    assert set(ImportanceKey(score="s").reads) == {"s", "key"}
    assert set(ImportanceKey(score="s", missing="error").reads) == {"s", "key", "uid"}
