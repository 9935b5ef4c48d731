"""Near duplicates: the whole recipe against brute force, and the traps that peers fell into."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run
from near_corpora import corpus, greedy, jaccard
from pydantic import ValidationError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from operators.minhash_dedup import MinhashDedup

# Bands that meet every pair, and so many permutations that the estimate hides only pairs within a
# hundredth of the threshold; the thresholds below lie further than that from what small sets can have.
SURE = {"bands": 512, "rows": 2, "permutations": 1024}
LONG = "the quick brown fox jumps over the lazy dog and runs far away from the {} hounds of winter"


def table(texts: list[str | None], **more: list) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string()), **more})


def kept(texts: list[str | None], **fields: object) -> list[int | None]:
    return run(MinhashDedup(**fields), table(texts), 3)["kept"].to_pylist()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.485, 0.68]),
    keep=st.sampled_from(["first", "longest", "score:max"]),
    solve_up_to=st.sampled_from([0, 3, 65_536]),
    cut=st.lists(st.integers(0, 40), max_size=5),
)
def test_the_greedy_decision_for_any_cut(
    seed: int, threshold: float, keep: str, solve_up_to: int, cut: list[int]
) -> None:
    texts = corpus(seed, 40)
    score = [float(i * 7 % 11) for i in range(40)]
    preferred = {"first": 0, "longest": [-len(t) for t in texts], "score:max": [-s for s in score]}[keep]
    order = sorted(range(40), key=lambda i: (preferred[i] if preferred else 0, i))
    op = MinhashDedup(threshold=threshold, ngram=2, keep=keep, solve_up_to=solve_up_to, **SURE)
    out = run(op, table(texts, score=score), cut=sorted(cut))
    gone = greedy(texts, threshold, 2, order)
    assert {i for i, reason in enumerate(out["drop"].to_pylist()) if reason} == gone
    for i, k in enumerate(out["kept"].to_pylist()):
        assert (k is None) == (i not in gone)
        if k is not None:
            assert k not in gone
            assert order.index(k) < order.index(i)
            assert out["similarity"][i].as_py() == pytest.approx(jaccard(texts[i], texts[k], 2))
            assert out["similarity"][i].as_py() >= threshold


def test_the_nearest_kept_partner_is_named_and_ties_go_to_the_first() -> None:
    texts = ["a b c d e f g h", "x y c d e f g h", "b c d e f g h y", "b c d e f g h y"]
    out = run(MinhashDedup(threshold=0.65, ngram=1, **SURE), table(texts))
    assert out["kept"].to_pylist() == [None, None, 0, 0]  # J is 7/9 with both


def test_texts_of_few_words() -> None:
    """PEERS rows 2, 6 and 9: short texts are neither one cluster, nor left out, nor lost."""
    texts = ["one two", "one", "three four", "One, two!", "", None, "...", "", "three four five"]
    assert kept(texts) == [None, None, None, 0, None, None, None, None, None]


def test_numbers_are_kept_unless_asked() -> None:
    """PEERS row 7: sheets that differ only in numbers are different."""
    texts = [" ".join(f"{a} plus {b} is {a + b}" for b in range(20)) for a in (3, 40, 500)]
    assert kept(texts) == [None] * 3
    assert kept(texts, numbers="zero") == [None, 0, 0]


def test_what_was_verified_as_apart_is_not_merged_again() -> None:
    """PEERS row 8: pairs (0, 1) and (2, 3) that share bands stay two."""
    one, two = LONG.format("first"), LONG.format("first").replace("quick brown fox", "slow red wolf")
    texts = [one, one + " now", two, two + " now"]
    assert jaccard(one, two, 2) < 0.8 < jaccard(one, texts[1], 2)
    assert kept(texts, ngram=2, **SURE) == [None, 0, None, 2]


def test_a_chain_keeps_every_document_without_a_kept_partner() -> None:
    """0 ~ 1 ~ 2 ~ 3, but 0 and 2 are apart: transitive closure would keep one, the greedy pass keeps two."""
    words = [f"w{i}" for i in range(40)]
    texts = [" ".join(words[i * 2 : i * 2 + 30]) for i in range(5)]
    assert kept(texts, threshold=0.85, ngram=1, **SURE) == [None, 0, None, 2, None]
    out = run(MinhashDedup(threshold=0.85, ngram=1, clusters=True, **SURE), table(texts))
    assert out["cluster"].to_pylist() == [0] * 5


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_clusters_are_the_connected_components(seed: int, batch_rows: int) -> None:
    texts = corpus(seed, 40)
    op = MinhashDedup(threshold=0.5, ngram=2, clusters=True, **SURE)
    near = [[jaccard(a, b, 2) >= 0.5 for b in texts] for a in texts]
    _, label = connected_components(coo_matrix(np.array(near)), directed=False)
    least = [int(np.flatnonzero(label == one)[0]) for one in label]
    assert run(op, table(texts), batch_rows)["cluster"].to_pylist() == least


def test_half_of_all_rows_in_one_bucket() -> None:
    """Near copies that differ in one word, behind each other: every one is found, lists stay bounded."""
    texts = [LONG.format(f"n{i}") if i % 2 else f"text {i} alone {i * i}" for i in range(400)]
    world = World(table(texts), 50, None)
    world.execute("face", MinhashDedup(threshold=0.4, candidates=4), {})
    assert world.columns["/face.kept"].to_pylist() == [1 if i % 2 and i > 1 else None for i in range(400)]
    assert max(world.columns["/near.near"].value_lengths().to_pylist()) == 4


def test_hostile_texts() -> None:
    base = "中文 没有 空格 de\u0301ja\u0300 vu 😀 العربية مرحبا İstanbul ΣΟΦΟΣ x one two three four"
    texts = [base, base.replace(" ", "\r\n"), base.lower(), base.replace("a\u0300", "à"), "word", "\x00"]
    assert kept(texts) == [None, 0, 0, None, None, None]
    assert kept([]) == []


def test_invalid_utf8() -> None:
    data = b"a b c d e f g h\xff\xfe" + b"a b c d e f g h\xf0\x9f"
    offsets = np.array([0, 17, len(data)], np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    assert run(MinhashDedup(), pa.table({"text": text}))["kept"].to_pylist() == [None, 0]


def test_golden() -> None:
    """The same rows and fields gave these bytes when it was written: other bytes need a new version."""
    out = run(MinhashDedup(threshold=0.5, ngram=2), table(corpus(5, 200)), 17)
    kept_, similarity = out["kept"].fill_null(-1), out["similarity"].fill_null(-1)
    bytes_ = np.asarray(kept_).tobytes() + np.asarray(similarity).tobytes()
    assert hashlib.sha256(bytes_).hexdigest()[:16] == "0b9f67f4e4346565"


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="give both or neither"):
        MinhashDedup(bands=4)
    with pytest.raises(ValidationError, match="192 is more than permutations = 128"):
        MinhashDedup(bands=24, rows=8)
    with pytest.raises(ValidationError, match="keep"):
        MinhashDedup(keep="random")


def test_signatures_do_not_depend_on_the_seed_of_the_run() -> None:
    assert MinhashDedup().seed == MinhashDedup().parts()[1].fields["seed"] == 1
