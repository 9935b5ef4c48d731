"""Only what the second search has found is compared."""

from __future__ import annotations

import pyarrow as pa
import pytest
from memory_engine import run
from near_corpora import corpus, jaccard

from operators.near_reverify import NearReverify

TEXTS = corpus(3, 12)


@pytest.mark.parametrize("batch_rows", [1, 5, 100])
def test_pairs_that_were_verified_are_left_out(batch_rows: int) -> None:
    first = [[j for j in range(i) if j % 2] for i in range(12)]
    table = pa.table(
        {
            "text": TEXTS,
            "/near.near": pa.array(first, pa.list_(pa.int64())),
            "/again.near": pa.array([list(range(i)) for i in range(12)], pa.list_(pa.int64())),
            "/heard.followed": [True] * 12,
            "/heard.paired": [True] * 12,
        }
    )
    out = run(NearReverify(threshold=0.3, ngram=2), table, batch_rows)
    for i in range(12):
        near = [j for j in range(0, i, 2) if jaccard(TEXTS[i], TEXTS[j], 2) >= 0.3]
        assert out["edges"][i].as_py() == near
