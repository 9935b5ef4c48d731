"""ALPS: k-means of the surprisal vectors, against its two steps taken by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from gpu_ops.alps import Alps
from gpu_ops.kmeans_sample import KmeansSample
from gpu_ops.surprisal import Surprisal

MODEL = "configs/quickstart/stories260K"


def test_it_is_k_means_of_the_surprisals() -> None:
    words = ["once", "upon", "time", "there", "little", "girl", "loved", "play", "red", "ball", "park"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 8)) for _ in range(30)] + [None]
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    found = run(Alps(model=MODEL, max_tokens=12, share=0.5, keep_rows=4, seed=3), table)
    vectors = run(Surprisal(model=MODEL, max_tokens=12, share=0.5, seed=3), table)
    lengths = np.linalg.norm(np.stack(vectors["surprisal"].to_pylist()[:30]), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    want = run(KmeansSample(embedding="surprisal", keep_rows=4, seed=3), vectors)
    assert found.equals(want)
    assert found["drop"].to_pylist().count(None) == 4
    assert found["drop"][30].as_py() == "not_comparable"
