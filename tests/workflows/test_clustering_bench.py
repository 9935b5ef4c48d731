"""The clustering benchmark judges as scikit-learn does, and its path from a mixture to the table works."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import KMeans

from workflows.bench import clustering


def test_inertia_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "BLOCK", 64)
    vectors = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    model = KMeans(7, n_init=1, max_iter=300, tol=0, random_state=0).fit(vectors)
    assert clustering.inertia(vectors, model.labels_, 9) == pytest.approx(model.inertia_, rel=1e-4)


def test_a_mixture_is_clustered_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clustering, "BLOCK", 100)
    out = tmp_path / "out"
    wanted = ["--rows", "250", "--clusters", "3", "--threads", "1", "--ways", "tamis, batches"]
    monkeypatch.setattr(sys, "argv", ["clustering", str(out), *wanted])
    clustering.main()
    lists = pq.ParquetFile(out / "vectors.parquet").read(["embedding"])["embedding"].combine_chunks()
    np.testing.assert_array_equal(np.array(lists.to_pylist(), np.float32), np.load(out / "vectors.npy"))
    row = capsys.readouterr().out.strip().splitlines()[-1]
    assert row.startswith("| tamis, batches |")
    assert row.endswith("| 1.0000 |")
    truth, label = np.load(out / "truth.npy"), np.load(out / "labels.npy")
    assert len(set(zip(truth.tolist(), label.tolist(), strict=True))) == 3
