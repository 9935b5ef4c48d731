"""The exact join finds what brute force finds; judgements and built corpora are what they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from near_corpora import corpus as near_corpus
from near_corpora import jaccard

from workflows.bench import recombine
from workflows.bench.truth import Pairs, exact_pairs, judge, read_ids, read_pairs, write_pairs

SAMPLE = sorted((Path(__file__).parents[2] / "configs" / "quickstart" / "sample").glob("*.parquet"))


def write_corpus(path: Path, texts: list[str | None]) -> Path:
    ids = [f"d{k}" for k in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), path)
    return path


def by_pair(pairs: Pairs) -> dict[tuple[int, int], float]:
    return dict(
        zip(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True), pairs.jaccard.tolist(), strict=True)
    )


@pytest.mark.parametrize("floor", [0.2, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_join_is_exact(tmp_path: Path, seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    long = [" ".join(f"w{k + n % 4}" for k in rng.integers(0, 60) + np.arange(60)) for n in range(20)]
    texts = [*near_corpus(seed, 60), *long, "one two", "One, two!", "", None]
    found = by_pair(exact_pairs(write_corpus(tmp_path / "c.parquet", texts), floor))
    scored = {
        (i, j): jaccard(texts[i] or "", texts[j] or "", 5)
        for i, j in itertools.combinations(range(len(texts)), 2)
    }
    expected = {pair: score for pair, score in scored.items() if score >= floor}
    assert found == pytest.approx(expected)
    assert len(expected) > 10


def test_a_corpus_without_words_has_no_pairs(tmp_path: Path) -> None:
    assert by_pair(exact_pairs(write_corpus(tmp_path / "c.parquet", ["", None, "..."]), 0.7)) == {}


def test_pairs_survive_their_file(tmp_path: Path) -> None:
    ids = ["x", "y", "z"]
    pairs = Pairs(np.array([0, 1]), np.array([2, 2]), np.array([0.8, 0.75]), 0.7)
    write_pairs(pairs, ids, tmp_path / "p.parquet")
    assert by_pair(read_pairs(tmp_path / "p.parquet", ids, 0.7)) == {(0, 2): 0.8, (1, 2): 0.75}
    assert by_pair(read_pairs(tmp_path / "p.parquet", ids, 0.8)) == {(0, 2): 0.8}


def test_pairs_in_32_bits_keep_their_threshold(tmp_path: Path) -> None:
    columns = {"id_a": ["y", "y"], "id_b": ["x", "z"], "jaccard5w": pa.array([0.7, 0.9], pa.float32())}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert by_pair(read_pairs(tmp_path / "p.parquet", ["x", "y", "z"], 0.7)) == {(0, 1): 0.7, (1, 2): 0.9}


def test_judgement_counts_each_kind() -> None:
    ids = [f"d{k}" for k in range(8)]
    # 0-1 and 1-2 are near, 3-4 nearly so, 5-6 near; 7 has nobody.
    pairs = Pairs(np.array([0, 1, 3, 5]), np.array([1, 2, 4, 6]), np.array([0.9, 0.8, 0.75, 0.95]), 0.7)
    kept = ["d0", "d3", "d5", "d6"]  # 2 went for 1, which is gone too; 4 and 7 have no true partner
    assert judge(pairs, ids, kept, 0.8) == {
        "removed": 4, "wrong": 2, "far": 1, "alone": 3, "pairs": 3, "lost": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="d9"):
        judge(pairs, ids, ["d9"], 0.8)
    with pytest.raises(ValueError, match="twice"):
        judge(pairs, ids, ["d0", "d0"], 0.8)


def test_larger_corpora_begin_with_smaller_ones(tmp_path: Path) -> None:
    pool = recombine.paragraphs(SAMPLE)
    sizes = [len(text) for text in recombine.read_texts(SAMPLE[0])]
    counts = [recombine.build(tmp_path / f"{n}.parquet", n * 1_000_000, pool, sizes) for n in (1, 2)]
    small, large = (pq.ParquetFile(tmp_path / f"{n}.parquet").read() for n in (1, 2))
    assert [small.num_rows, large.num_rows] == counts
    assert large.slice(0, small.num_rows).equals(small)
    assert len(set(read_ids(tmp_path / "2.parquet"))) == counts[1]
    assert 1_000_000 <= sum(len(text.encode()) for text in small.column("text").to_pylist()) < 1_100_000


def test_built_corpora_have_the_planted_copies_and_no_others(tmp_path: Path) -> None:
    pool = recombine.paragraphs(SAMPLE)
    stream = recombine.documents(pool, [2000, 3000], seed=3)
    texts = [next(stream).decode() for _ in range(1500)]
    pairs = exact_pairs(write_corpus(tmp_path / "c.parquet", texts), 0.8)
    copies = len(set(pairs.b.tolist())) / len(texts)
    assert 0.02 < copies < 0.08  # one in ten is a copy, half of them at or above 0.8
    edited = {k for k, text in enumerate(texts) if " edit" in text}
    exact = {b for a, b in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True) if texts[a] == texts[b]}
    assert set(pairs.b.tolist()) <= edited | exact


def test_edits_cost_five_shingles_each() -> None:
    text = " ".join(f"word{k}" for k in range(400))
    seen = set()
    for group in range(40):
        edited = recombine.edit(text.encode(), recombine.Numbers(1, group)).decode()
        count = edited.count("edit")
        assert jaccard(text, edited, 5) == pytest.approx((396 - 5 * count) / (396 + 5 * count))
        seen.add(count)
    assert 0 in seen
    assert max(seen) <= 400 * 0.5 / 7.5 + 1


def test_cuts_fall_between_characters() -> None:
    pool = [("né über 漢字 " * 300).encode(), ("漢" * 500).encode()]
    stream = recombine.documents(pool, [600])
    for _ in range(200):
        next(stream).decode()  # raises where a character was cut


def test_no_paragraphs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c\.parquet"):
        recombine.paragraphs([write_corpus(tmp_path / "c.parquet", ["short", None])])
