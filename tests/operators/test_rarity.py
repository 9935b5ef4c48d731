"""Rarity equals brute force over exact counts where no bucket is shared, and says how it errs elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.kernels.ngrams import reference_buckets, reference_tokens
from operators.ngram_counts import NgramCounts
from operators.rarity import Rarity
from operators.word_rarity import WordRarity, surprise

SAMPLE = Path(__file__).parents[2] / "configs" / "quickstart" / "sample"
WORDS = st.sampled_from(["the", "The", "grain", "STONE", "sieve,", "wörd", "a-b", "7", "…", "\n"])


def brute_force(texts: list[str | None], counted: list[str | None]) -> list[tuple[float, float, int] | None]:
    """(mean, sum, words) by Counter."""
    tokens = [list(reference_tokens((text or "").encode())) for text in texts]
    seen = Counter(t for text in counted for t in reference_tokens((text or "").encode()))
    total = sum(seen.values())
    rarities = [[-math.log(seen[t] / total) for t in row] for row in tokens]
    return [(sum(row) / len(row), sum(row), len(row)) if row else None for row in rarities]


def shares_no_bucket(texts: list[str | None], buckets: int) -> bool:
    words = {t for text in texts for t in reference_tokens((text or "").encode())}
    return len({reference_buckets(word, (1,), buckets)[0] for word in words}) == len(words)


def check(got: pa.Table, wanted: list[Any]) -> None:
    for row, known in zip(got.to_pylist(), wanted, strict=True):
        if known is None:
            assert row == {"rarity": None, "rarity_sum": None, "words": 0}
            continue
        assert row["rarity"] == pytest.approx(known[0], rel=1e-6, abs=1e-6)
        assert row["rarity_sum"] == pytest.approx(known[1], rel=1e-6, abs=1e-6)
        assert row["words"] == known[2]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.lists(WORDS, max_size=8).map(" ".join), max_size=8), st.integers(1, 5))
def test_equals_a_counter(texts: list[str | None], size: int) -> None:
    assert shares_no_bucket(["the grain STONE sieve, wörd a-b 7 …"], 2**20)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    check(run(Rarity(), table, batch_rows=size), brute_force(texts, texts))


def test_equals_a_counter_on_real_texts() -> None:
    texts = pq.read_table(SAMPLE / "part-0.parquet").column("text").to_pylist()[:40]
    assert shares_no_bucket(texts, 2**24)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    check(run(Rarity(buckets=2**24), table), brute_force(texts, texts))
    few = np.array(run(Rarity(buckets=256), table).column("rarity"))
    exact = np.array([known[0] for known in brute_force(texts, texts) if known])
    assert (few < exact).all()  # what shares a bucket looks more common


def test_counts_of_other_texts() -> None:
    counts = run_counts(["the the grain"])
    got = run(
        WordRarity(smoothing=0.5), pa.table({"text": ["the grain", "stone", ""]}), uses={"counts": counts}
    )
    whole = 3 + 0.5 * 1000
    rare = [-math.log(x / whole) for x in (2.5, 1.5, 0.5)]
    assert got.column("rarity").to_pylist() == pytest.approx([(rare[0] + rare[1]) / 2, rare[2], None])


def run_counts(texts: list[str]) -> Any:
    op = NgramCounts(ngrams=(1,), buckets=1000)
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    return op.finish(op.fold(batch, {}), {})


def test_nothing_was_counted() -> None:
    assert surprise(np.zeros(4, np.int64), 0.0).tolist() == [0.0] * 4
    assert surprise(np.zeros(4, np.int64), 1.0).tolist() == pytest.approx([math.log(4)] * 4)
    assert run(Rarity(), pa.table({"text": pa.array([], pa.large_string())})).num_rows == 0


def test_a_reference_needs_smoothing() -> None:
    with pytest.raises(ValueError, match="infinitely rare; use smoothing > 0"):
        Rarity(reference="x.jsonl", smoothing=0)
    parts = [Rarity(reference="x.jsonl").parts(), Rarity().parts()]
    assert [part[1].fields["smoothing"] for part in parts] == [1.0, 0.0]
    assert [part[0].source for part in parts] == ["x.jsonl", None]
