"""The exact similarity of candidates."""

from __future__ import annotations

import pyarrow as pa
import pytest
from memory_engine import run
from near_corpora import containment, corpus, jaccard

from operators.near_verify import NearVerify

TEXTS = corpus(3, 12)
EDGES = pa.list_(pa.int64())


def table(near: list[list[int]]) -> pa.Table:
    asked = {i for one in near for i in one}
    return pa.table(
        {
            "text": TEXTS,
            "/near.near": pa.array(near, EDGES),
            "/followed.followed": [i in asked for i in range(len(near))],
            "/followed.paired": [i in asked or len(one) > 0 for i, one in enumerate(near)],
        }
    )


@pytest.mark.parametrize("batch_rows", [1, 5, 100])
@pytest.mark.parametrize("measure", [jaccard, containment])
def test_all_pairs_of_a_corpus(batch_rows: int, measure: object) -> None:
    op = NearVerify(threshold=0.3, ngram=2, measure=measure.__name__)
    out = run(op, table([list(range(i)) for i in range(12)]), batch_rows)
    for i in range(12):
        near = [(j, measure(TEXTS[i], TEXTS[j], 2)) for j in range(i)]
        assert out["edges"][i].as_py() == [j for j, value in near if value >= 0.3]
        assert out["similarity"][i].as_py() == pytest.approx([value for _, value in near if value >= 0.3])


def test_tokens() -> None:
    near = table([[], [0], *[[]] * 10])
    tokens = pa.array([[5, 6, 7], [5, 6, 8], *[[]] * 10], pa.list_(pa.int32()))
    out = run(
        NearVerify(unit="tokens", column="ids", ngram=1, threshold=0.5), near.append_column("ids", tokens)
    )
    assert out["similarity"].to_pylist()[:2] == [[], [0.5]]


def test_a_partner_that_says_nothing_is_an_error() -> None:
    silent = table([[], [0], *[[]] * 10]).drop_columns("/followed.followed")
    with pytest.raises(ValueError, match="sent no shingles"):
        run(NearVerify(), silent.append_column("/followed.followed", pa.array([False, True] + [False] * 10)))
