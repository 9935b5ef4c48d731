"""Candidates in an index: everything that shares a band and looks near, whatever the size of a bucket."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from memory_engine import World
from near_corpora import corpus
from near_indexes import signature_of, write_part

from operators.kernels.lists import cells
from operators.kernels.minhash import permutation_factors, sign
from operators.kernels.near_index import least_equal_bytes
from operators.kernels.near_part import part_tag
from operators.minhash_dedup import MinhashDedup
from operators.near_lookup import NearLookup

FIELDS = {"threshold": 0.5, "ngram": 2, "bands": 40, "rows": 3}


def world(op: MinhashDedup, texts: list[str], batch_rows: int = 7) -> World:
    """After the part `signature` of the recipe."""
    found = World(pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows, None)
    found.execute("signature", signature_of(op), {})
    return found


def signed(op: MinhashDedup, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    signature = signature_of(op)
    factors = permutation_factors(signature.seed, signature.permutations)
    column = pa.array(texts, pa.large_string())
    shape = {"bands": signature.bands, "rows": signature.rows, "factors": factors}
    return sign(column, signature.shingling(), **shape)[:2]


def test_all_that_share_a_band_and_look_near(tmp_path: Path) -> None:
    op = MinhashDedup(**FIELDS)
    texts = corpus(1, 200)
    old, new = [t for t in texts[:120] if t], texts[120:]
    paths = (
        write_part(tmp_path, op, old[:50], ["a"] * 50),
        write_part(tmp_path, op, old[50:], ["b"] * len(old[50:])),
    )
    found = world(op, new)
    found.execute("lookup", NearLookup(against=paths, threshold=0.5), {})
    (old_bands, old_bytes), (bands, bytes_) = signed(op, old), signed(op, new)
    needed = least_equal_bytes(0.5, 128)
    references = [part_tag(Path(paths[i >= 50]).stem) << 32 | i - 50 * (i >= 50) for i in range(len(old))]
    want = [
        [
            r
            for i, r in enumerate(references)
            if (old_bands[i] == b).any() and (old_bytes[i] == s).sum() >= needed
        ]
        if text
        else []
        for text, b, s in zip(new, bands, bytes_, strict=True)
    ]
    assert found.columns["/lookup.candidates"].to_pylist() == want
    assert found.columns["/lookup.found"].to_pylist() == [bool(w) for w in want]
    assert sum(map(len, want)) > 100


def test_a_bucket_of_thousands(tmp_path: Path) -> None:
    """An index that was made of documents that nobody deduplicated: slow at worst, never wrong."""
    op = MinhashDedup(**FIELDS)
    path = write_part(tmp_path, op, ["one two three four"] * 3000, [str(i) for i in range(3000)])
    found = world(op, ["one two three four", "five six seven eight"])
    found.execute("lookup", NearLookup(against=(path,), threshold=0.5), {})
    assert found.columns["/lookup.candidates"].value_lengths().to_pylist() == [3000, 0]


def test_no_index_at_all() -> None:
    op = MinhashDedup(**FIELDS)
    found = world(op, ["one two three four", ""])
    found.execute("lookup", NearLookup(against=(), threshold=0.5), {})
    assert found.columns["/lookup.found"].to_pylist() == [False, False]
    assert cells(found.columns["/signature.signature"], np.uint8).shape == (2, 128)
