"""semantic_dedup against brute force over all pairs of a cluster, and what it finds of planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from gpu_ops.kmeans import Kmeans
from gpu_ops.semantic_dedup import SemanticDedup
from operators.contract import Explained

SAMPLE = Path(__file__).parents[2] / "configs/quickstart/sample"


def table(vectors: np.ndarray, **columns: Sequence[object]) -> pa.Table:
    lists = pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table({"embedding": lists, **columns})


def planted(seed: int, n: int = 240, d: int = 16) -> np.ndarray:
    """Random directions, and nearer and farther copies of some of them in between, chains among them."""
    rng = np.random.default_rng(seed)
    vectors = list(rng.normal(size=(n // 2, d)))
    while len(vectors) < n:
        noise = rng.choice([0.0, 0.05, 0.3, 0.6])
        vectors.append(vectors[rng.integers(len(vectors))] + noise * rng.normal(size=d))
    order = rng.permutation(n)
    return np.array(vectors, np.float32)[order] * rng.uniform(0.1, 9, size=(n, 1)).astype(np.float32)


def brute(
    vectors: np.ndarray, cluster: np.ndarray, order: np.ndarray, threshold: float
) -> tuple[list[int | None], list[float | None]]:
    """For every document, by the greedy rule, the nearest kept one before it and their cosine."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosine = unit @ unit.T
    kept: list[int] = []
    partner: list[int | None] = [None] * len(unit)
    value: list[float | None] = [None] * len(unit)
    for one in order.tolist():
        others = [other for other in kept if cluster[other] == cluster[one]]
        best = max(others, key=lambda other: cosine[one, other], default=None)
        if best is not None and cosine[one, best] >= threshold:
            partner[one], value[one] = best, cosine[one, best]
        else:
            kept.append(one)
    return partner, value


def clear(vectors: np.ndarray, threshold: float) -> bool:
    """Whether no cosine is so near the threshold that rounding to the grid could decide."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return bool((np.abs(unit @ unit.T - threshold) > 2e-4).all())


def agrees(found: pa.Table, partner: list[int | None], value: list[float | None]) -> None:
    assert found["kept"].to_pylist() == partner
    assert [reason is not None for reason in found["drop"].to_pylist()] == [p is not None for p in partner]
    got = [v for v in found["similarity"].to_pylist() if v is not None]
    np.testing.assert_allclose(got, [v for v in value if v is not None], atol=1e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), clusters=st.integers(1, 6), batch_rows=st.integers(20, 300))
def test_the_decision_is_the_greedy_one(seed: int, clusters: int, batch_rows: int) -> None:
    vectors = planted(seed)
    op = SemanticDedup(clusters=clusters, keep="first", threshold=0.9, seed=seed)
    found = run(op, table(vectors), batch_rows)
    cluster = np.array(found["cluster"].to_pylist())
    assert set(found["unseen"].to_pylist()) == {0}
    if clear(vectors, 0.9):
        agrees(found, *brute(vectors, cluster, np.arange(len(vectors)), 0.9))


@pytest.mark.parametrize("keep", ["far", "near", "quality:max", "quality:min", "longest"])
def test_whom_it_keeps(keep: str) -> None:
    vectors = planted(7)
    assert clear(vectors, 0.9)
    rng = np.random.default_rng(8)
    quality = rng.permutation(len(vectors)).astype(float)
    texts = ["x" * int(n) for n in rng.permutation(len(vectors))]
    data = table(vectors, quality=quality, text=texts)
    found = run(SemanticDedup(clusters=3, keep=keep, threshold=0.9, seed=1), data)
    centred = run(Kmeans(clusters=3, seed=1), data)
    assert found["cluster"].equals(centred["cluster"])
    cluster, centred = (np.array(centred[name].to_pylist()) for name in ("cluster", "similarity"))
    by = {
        "far": centred,
        "near": -centred,
        "quality:max": -quality,
        "quality:min": quality,
        "longest": -np.array([len(text) for text in texts]),
    }
    agrees(found, *brute(vectors, cluster, np.argsort(by[keep], kind="stable"), 0.9))


def test_a_preferred_source_goes_before_the_keep_rule() -> None:
    vectors = np.ones((4, 3))
    data = table(vectors, source=["web", None, "wiki", "wiki"], quality=[9.0, 10.0, 1.0, 2.0])
    op = SemanticDedup(clusters=1, keep="quality:max", prefer={"source": ("wiki", "web")})
    assert run(op, data)["kept"].to_pylist() == [3, 3, 3, None]


def test_a_chain_does_not_cascade() -> None:
    angles = np.deg2rad([0, 15, 30, 45])  # neighbours have a cosine of 0.966, others at most 0.866
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = run(SemanticDedup(clusters=1, keep="first", threshold=0.95), table(vectors))
    assert found["kept"].to_pylist() == [None, 0, None, 2]


def test_equal_vectors_meet_a_threshold_of_one() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 384)).repeat(2, axis=0)
    vectors[1::2] *= 4  # the direction counts
    found = run(SemanticDedup(threshold=1, keep="first", clusters=5), table(vectors), 7)
    assert found["kept"].to_pylist() == [None if i % 2 == 0 else i - 1 for i in range(100)]
    assert set(found["similarity"].to_pylist()) == {None, 1.0}


def test_what_has_no_direction_stays_and_is_reported() -> None:
    nan, inf = float("nan"), float("inf")
    odd = [None, [], [0.0, 0.0], [nan, 1.0], [inf, 1.0], [None, 1.0]]
    lists = [*odd, *odd, [1.0, 0.0], [2.0, 0.0], [1e300, 0.0], [5e-324, 0.0]]
    data = pa.table({"embedding": pa.array(lists, pa.list_(pa.float64()))})
    found = run(SemanticDedup(keep="first"), data, 5)
    assert found["kept"].to_pylist() == [None] * 13 + [12] * 3
    assert found["cluster"].to_pylist() == found["unseen"].to_pylist() == [None] * 12 + [0] * 4


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float16()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float16(), 2),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.float64(), 2),
    ],
    ids=str,
)
def test_every_kind_of_list(kind: pa.DataType) -> None:
    lists = [[1.0, 0.0], None, [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    values = [None if one is None else [np.float16(number) for number in one] for one in lists]
    whole = pa.array([values[0], *values], kind).slice(1)  # an offset, as batches have
    found = run(SemanticDedup(keep="first", clusters=2), pa.table({"embedding": whole}), 4)
    assert found["kept"].to_pylist() == [None, None, None, 0, None, 2]


@pytest.mark.parametrize("batch_rows", [1, 10])
def test_another_length_is_an_error_with_its_place(batch_rows: int) -> None:
    lists = pa.array([[1.0, 0.0]] * 5 + [[1.0, 0.0, 0.0]], pa.list_(pa.float32()))
    with pytest.raises(ValueError, match=r"3 numbers at uid 5, but 2|2 numbers at uid 0, but 3 at uid 5"):
        run(SemanticDedup(), pa.table({"embedding": lists}), batch_rows)


def test_more_numbers_than_can_be_exact_are_an_error() -> None:
    with pytest.raises(ValueError, match="have 4097 numbers, at most 4096"):
        run(SemanticDedup(), table(np.ones((2, 4097))))


def test_planted_duplicates_are_found_among_embeddings_of_real_texts() -> None:
    """TF-IDF, reduced by scikit-learn; 200 copies with a cosine of about 0.99 in shuffled order."""
    files = sorted(SAMPLE.glob("*.parquet"))
    texts = [t for file in files for t in pq.ParquetFile(file).read(["text"])["text"].to_pylist()]
    counts = TfidfVectorizer(max_features=5000, sublinear_tf=True).fit_transform(texts)
    vectors = TruncatedSVD(64, random_state=0).fit_transform(counts)
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0.05]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(vectors), 200, replace=False)
    noise = rng.normal(size=(200, 64)) * 0.14 / 8 * np.linalg.norm(vectors[chosen], axis=1, keepdims=True)
    both = np.concatenate([vectors, vectors[chosen] + noise])
    found = run(SemanticDedup(threshold=0.97, keep="first"), table(both), 4096)
    gone = np.array([reason is not None for reason in found["drop"].to_pylist()])
    assert len(set(found["cluster"].to_pylist())) == -(-int(np.sqrt(len(both))) // 4)
    assert gone[len(vectors) :].mean() >= 0.95
    unit = both / np.linalg.norm(both, axis=1, keepdims=True)
    kept = np.array([k if k is not None else -1 for k in found["kept"].to_pylist()])
    assert ((unit[gone] * unit[kept[gone]]).sum(axis=1) >= 0.97 - 1e-4).all()
    assert not gone[kept[gone]].any()


def test_the_plan_says_what_it_costs() -> None:
    op = SemanticDedup(threshold=0.9, clusters=2000)
    assert isinstance(op, Explained)
    assert "2,000 clusters" in op.explain()
    assert "epsilon 0.1" in op.explain()
    assert "with 2,000 embeddings or fewer only equal ones meet" in op.explain()
    assert "fewer" not in SemanticDedup().explain()


def test_more_clusters_than_documents_leave_only_equal_ones_together() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 1e-3], [2.0, 0.0], [0.0, 1.0]])
    found = run(SemanticDedup(clusters=50, threshold=0.9, keep="first"), table(vectors))
    assert found["kept"].to_pylist() == [None, None, 0, None]


def test_fields_that_make_no_sense_are_refused() -> None:
    for fields in ({"threshold": 0}, {"threshold": 1.1}, {"keep": "middle"}, {"clusters": 0}, {"window": 0}):
        with pytest.raises(ValidationError, match=next(iter(fields))):
            SemanticDedup(**fields)
