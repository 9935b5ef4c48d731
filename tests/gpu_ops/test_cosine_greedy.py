"""The decision within a cluster: bounded memory, streamed messages, devices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from gpu_ops.cosine_greedy import CosineGreedy
from gpu_ops.kernels.cosine import BLOCK, NumpyTiles, Seen, TorchTiles, Verdict
from gpu_ops.kernels.unit_grid import to_grid


def cells_of(seed: int, n: int, d: int = 4) -> np.ndarray:
    cells, _ = to_grid(np.random.default_rng(seed).normal(size=(n, d)))
    return cells


def brute(cells: np.ndarray, threshold: float, window: int, chunk: int) -> tuple[list[int], list[int]]:
    """(nearest kept or -1, forgotten) by the rule as it is written: exact integers, one at a time."""
    numbers = [[int(v) for v in row] for row in cells]
    kept: list[int] = []
    partner, unseen = [], []
    for i, mine in enumerate(numbers):
        whole = len(kept) // chunk
        gone = max(0, whole - window // chunk) * chunk
        squares = {}
        for j in kept[gone:]:
            dot = sum(a * b for a, b in zip(mine, numbers[j], strict=True))
            squares[j] = (dot > 0) * dot * dot / sum(b * b for b in numbers[j])
        best = max(squares, key=squares.__getitem__, default=-1)
        near = best >= 0 and squares[best] >= threshold**2 * sum(a * a for a in mine)
        partner.append(best if near else -1)
        unseen.append(gone)
        if not near:
            kept.append(i)
    return partner, unseen


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 120), max_size=8),
    chunk=st.sampled_from([1, 3, 10, 500]),
    chunks=st.integers(1, 4),
)
def test_memory_is_bounded_and_what_is_forgotten_does_not_depend_on_the_cut(
    seed: int, cuts: list[int], chunk: int, chunks: int
) -> None:
    cells, uid = cells_of(seed, 120), np.arange(120)
    seen = Seen(NumpyTiles(), 0.93, chunk * chunks, chunk)
    bounds = [0, *sorted(cuts), 120]
    verdicts: list[Verdict] = []
    for a, b in pairwise(bounds):
        verdicts.append(seen.decide(cells[a:b], uid[a:b]))
        assert len(seen.full) <= chunks
        assert len(seen.uid) < chunk
    partner, unseen = brute(cells, 0.93, chunk * chunks, chunk)
    assert np.concatenate([v.kept for v in verdicts]).tolist() == partner
    assert np.concatenate([v.unseen for v in verdicts]).tolist() == unseen


def test_more_than_a_block_of_equal_ones_goes_for_the_first() -> None:
    cells = np.repeat(cells_of(1, 2), BLOCK + 5, axis=0)
    verdict = Seen(NumpyTiles(), 1 - 1e-12, 100, 1000).decide(cells, np.arange(len(cells)))
    assert verdict.kept.tolist() == ([-1] + [0] * (BLOCK + 4) + [-1] + [BLOCK + 5] * (BLOCK + 4))


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_torch_decides_the_same(device: str) -> None:
    cells, uid = cells_of(3, 1500, 6), np.arange(1500)
    one = Seen(NumpyTiles(), 0.97, 256, 128).decide(cells, uid)
    other = Seen(TorchTiles(device), 0.97, 256, 128).decide(cells, uid)
    for name in ("kept", "cosine", "unseen"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(max_examples=20)
@given(st.integers(1, 50), st.integers(1, 30))
def test_clusters_do_not_meet_and_a_small_window_is_reported(batch_rows: int, window: int) -> None:
    vectors = np.random.default_rng(4).normal(size=(50, 3))
    vectors[25:] = vectors[:25]
    cluster = [i % 3 for i in range(25)] + [(i + i // 20) % 3 for i in range(25)]  # the last five differ
    rank = pa.array(range(50), pa.uint64())
    table = pa.table(
        {
            "embedding": pa.array(list(vectors), pa.list_(pa.float64())),
            "/clusters.cluster": pa.array(cluster, pa.int32()),
            "/rank.tier": pa.array([0] * 50, pa.uint16()),
            "/rank.rank": rank,
        }
    )
    whole = run(CosineGreedy(threshold=1.0), table, batch_rows)
    assert whole["kept"].to_pylist() == [None] * 25 + list(range(20)) + [None] * 5
    assert whole["cluster"].to_pylist() == cluster
    few = run(CosineGreedy(threshold=1.0, window=window), table, batch_rows)
    for kept, unseen, i in zip(few["kept"].to_pylist(), few["unseen"].to_pylist(), range(50), strict=True):
        assert kept == whole["kept"][i].as_py() or (kept is None and unseen > 0)
