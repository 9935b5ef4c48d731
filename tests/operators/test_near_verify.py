"""Exact Jaccard of candidates."""

from __future__ import annotations

import pyarrow as pa
import pytest
from memory_engine import run
from near_corpora import corpus, jaccard

from operators.near_verify import NearVerify

TEXTS = corpus(3, 12)
EDGES = pa.list_(pa.int64())


def table(near: list[list[int]], rank: list[int]) -> pa.Table:
    asked = {i for one in near for i in one}
    return pa.table(
        {
            "text": TEXTS,
            "/rank.rank": pa.array(rank, pa.uint64()),
            "/near.near": pa.array(near, EDGES),
            "/followed.followed": [i in asked for i in range(len(near))],
        }
    )


@pytest.mark.parametrize("batch_rows", [1, 5, 100])
def test_all_pairs_of_a_corpus_in_keep_order(batch_rows: int) -> None:
    out = run(
        NearVerify(threshold=0.3, ngram=2),
        table([list(range(i)) for i in range(12)], list(range(12, 0, -1))),
        batch_rows,
    )
    for i in range(12):
        near = [(j, jaccard(TEXTS[i], TEXTS[j], 2)) for j in range(i - 1, -1, -1)]
        assert out["edges"][i].as_py() == [j for j, value in near if value >= 0.3]
        assert out["similarity"][i].as_py() == pytest.approx([value for _, value in near if value >= 0.3])


def test_a_partner_that_says_nothing_is_an_error() -> None:
    silent = table([[], [0], *[[]] * 10], [0] * 12).drop_columns("/followed.followed")
    with pytest.raises(ValueError, match="sent no shingles"):
        run(NearVerify(), silent.append_column("/followed.followed", pa.array([False, True] + [False] * 10)))
