"""Near duplicates: the whole recipe against brute force, and the traps that peers fell into."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run
from near_corpora import containment, corpus, greedy, jaccard
from near_indexes import write_part
from pydantic import ValidationError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from operators.minhash_dedup import MinhashDedup

# Bands that meet every pair, and so many permutations that the estimate hides only pairs within a
# hundredth of the threshold; the thresholds below lie further than that from what small sets can have.
SURE = {"bands": 512, "rows": 2, "permutations": 1024}
# The same for documents within others that are up to 20 times as large.
WITHIN = {"measure": "containment", "size_ratio": 20, "bands": 1024, "rows": 1, "permutations": 1024}
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
    candidates=st.sampled_from([1, 2, 32]),
    cut=st.lists(st.integers(0, 40), max_size=5),
)
def test_the_greedy_decision_for_any_cut(
    seed: int, threshold: float, keep: str, solve_up_to: int, candidates: int, cut: list[int]
) -> None:
    """However few candidates a document is verified against at first."""
    texts = corpus(seed, 40)
    score = [float(i * 7 % 11) for i in range(40)]
    preferred = {"first": 0, "longest": [-len(t) for t in texts], "score:max": [-s for s in score]}[keep]
    order = sorted(range(40), key=lambda i: (preferred[i] if preferred else 0, i))
    limits = {"solve_up_to": solve_up_to, "candidates": candidates}
    op = MinhashDedup(threshold=threshold, ngram=2, keep=keep, **limits, **SURE)
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


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    candidates=st.sampled_from([1, 2, 32]),
    ends=st.lists(st.integers(0, 40), max_size=4),
    bands=st.sampled_from([4, 512]),
)
def test_months_in_any_cut_keep_what_one_run_keeps(
    tmp_path_factory: pytest.TempPathFactory, seed: int, candidates: int, ends: list[int], bands: int
) -> None:
    """Dense families and few candidates; also where bands miss pairs, both miss the same ones."""
    texts = corpus(seed, 40, letters="abcd")
    fields = {"threshold": 0.6, "ngram": 2, "candidates": candidates, "bands": bands, "rows": 2}
    one = MinhashDedup(**fields, permutations=1024)
    want = [i for i, reason in enumerate(run(one, table(texts))["drop"].to_pylist()) if reason is None]
    folder, parts, got = tmp_path_factory.mktemp("index"), [], []
    for low, high in pairwise([0, *sorted(ends), 40]):
        world = World(table(texts[low:high]), 7, None)
        world.execute("face", MinhashDedup(**fields, permutations=1024, against=tuple(parts)), {})
        kept_ = [low + i for i in world.alive.tolist()]
        with_words = [i for i in kept_ if texts[i]]
        parts.append(write_part(folder, one, [texts[i] for i in with_words], [str(i) for i in with_words]))
        got += kept_
    assert got == want


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.485, 0.68, 1]),
    solve=st.sampled_from([0, 65_536]),
    candidates=st.sampled_from([2, 32]),
)
def test_containment_keeps_what_contains(seed: int, threshold: float, solve: int, candidates: int) -> None:
    texts = corpus(seed, 30)
    order = sorted(range(30), key=lambda i: (-len(texts[i]), i))
    op = MinhashDedup(
        threshold=threshold, ngram=1, keep="longest", solve_up_to=solve, candidates=candidates, **WITHIN
    )
    out = run(op, table(texts), 7)
    assert {i for i, k in enumerate(out["kept"].to_pylist()) if k is not None} == greedy(
        texts, threshold, 1, order, containment
    )
    for i, k in enumerate(out["kept"].to_pylist()):
        if k is not None:
            assert out["similarity"][i].as_py() == pytest.approx(containment(texts[i], texts[k], 1))


def test_containment_is_of_the_document_that_goes() -> None:
    """A long text is not contained in its first half; the half is contained in it, wherever it stands."""
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join(words[:30]), " ".join(words)]
    assert kept(texts, measure="containment", threshold=0.9) == [None, None]
    assert kept(texts, measure="containment", threshold=0.9, keep="longest") == [1, None]
    assert kept(texts, threshold=0.9, keep="longest") == [None, None]
    out = run(MinhashDedup(measure="containment", threshold=0.9, keep="longest"), table(texts))
    assert out["similarity"].to_pylist() == [1, None]


def test_a_preferred_source_wins_then_the_oldest() -> None:
    texts = [LONG.format("same")] * 4 + [LONG.format("other")]
    more = {
        "domain": ["web", "wiki", "books", "wiki", None],
        "date": ["2020-01-01", "2024-05-01T10:00:00", "2001-01-01", "2023-12-31", ""],
    }
    op = MinhashDedup(prefer={"domain": ["wiki", "books"]}, keep="date:min", ngram=2)
    assert run(op, table(texts, **more), 2)["kept"].to_pylist() == [3, 3, 3, None, 3]
    op = MinhashDedup(keep="date:max", ngram=2)
    assert run(op, table(texts, **more), 2)["kept"].to_pylist() == [1, None, 1, 1, 1]


def test_the_nearest_kept_partner_is_named_and_ties_go_to_the_first() -> None:
    texts = ["a b c d e f g h", "x y c d e f g h", "b c d e f g h y", "b c d e f g h y"]
    out = run(MinhashDedup(threshold=0.65, ngram=1, **SURE), table(texts))
    assert out["kept"].to_pylist() == [None, None, 0, 0]  # J is 7/9 with both


def test_texts_of_few_words() -> None:
    """PEERS rows 2, 6 and 9: short texts are neither one cluster, nor left out, nor lost."""
    texts = ["one two", "one", "three four", "One, two!", "", None, "...", "", "three four five"]
    assert kept(texts) == [None, None, None, 0, None, None, None, None, None]
    shingles = run(MinhashDedup(), table(texts))["shingles"].to_pylist()
    assert shingles == [1, 1, 1, 1, None, None, None, None, 1]  # what has no words is told, not merged


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
    world.execute("face", MinhashDedup(threshold=0.4, candidates=4, solve_up_to=100), {})
    assert world.columns["/face.kept"].to_pylist() == [1 if i % 2 and i > 1 else None for i in range(400)]
    assert max(world.columns["/near.near"].value_lengths().to_pylist()) == 4


def test_hostile_texts() -> None:
    base = "中文 没有 空格 de\u0301ja\u0300 vu 😀 العربية مرحبا İstanbul ΣΟΦΟΣ x one two three four"
    texts = [base, base.replace(" ", "\r\n"), base.lower(), base.replace("a\u0300", "à"), "word", "\x00"]
    assert kept(texts) == [None, 0, 0, None, None, None]
    assert kept([]) == []


ARTICLE = (
    "语料库是机器学习的基础。重复的文档会使模型记住它们而不是学习语言的规律。"
    "因此在训练之前应当删除几乎相同的文档并且为每一次删除留下证据。"
)


def test_a_script_without_spaces_needs_characters() -> None:
    """One changed character of 66: to words each sentence is one long word; characters see what is shared."""
    texts = [
        ARTICLE,
        ARTICLE.replace("证据", "凭据"),
        ARTICLE[:30] + "完全不同的另外一段文字讲的是天气和食物。" * 2,
    ]
    assert kept(texts, unit="words", threshold=0.6) == [None, None, None]
    assert kept(texts, unit="characters", threshold=0.6) == [None, 0, None]


def test_arabic_by_words() -> None:
    text = (
        "إزالة المستندات المتكررة من مجموعة البيانات قبل تدريب النموذج اللغوي تحسن النتائج وتقلل الحفظ الحرفي"
    )
    texts = [
        text,
        text + "، حقا",
        "«" + text.replace(" ", "\u00a0") + "»",
        text.replace("البيانات", "النصوص"),
    ]
    assert kept(texts, threshold=0.7) == [None, 0, 0, None]


def test_emoji_and_combining_characters_by_characters() -> None:
    """Emoji are no words; as characters they count, and what is composed otherwise is another text."""
    faces = "😀😃😄😁😆😅🤣😂🙂🙃😉😊😇🥰😍🤩😘😗☺😚😙🥲😋😛😜🤪"
    texts = [faces, faces + "🎉", faces[::-1], "cafe\u0301 " * 9, "caf\u00e9 " * 9]
    assert kept(texts, unit="words") == [None] * 5
    assert kept(texts, unit="characters", ngram=3) == [None, 0, None, None, None]


def test_line_ends_do_not_matter() -> None:
    text = "\n".join(f"line {i} of a text that was written on another machine" for i in range(9))
    texts = [text, text.replace("\n", "\r\n"), text.replace("\n", "\r") + "\r"]
    for fields in ({}, {"unit": "characters"}, {"punctuation": "keep"}):
        assert kept(texts, **fields) == [None, 0, 0]


def test_case_and_punctuation_are_fields() -> None:
    texts = [
        "One two, three; four five six.",
        "one TWO three four five SIX",
        "one two, three; four five six.",
    ]
    assert kept(texts) == [None, 0, 0]
    assert kept(texts, case="keep", punctuation="keep") == [None, None, None]
    assert kept(texts, punctuation="keep") == [None, None, 0]


def test_tokens_are_compared_as_they_are() -> None:
    ids = [list(range(40)), list(range(1, 41)), [], None, list(range(40)), [7]]
    tokens = pa.table({"ids": pa.array(ids, pa.list_(pa.int32()))})
    out = run(MinhashDedup(unit="tokens", column="ids"), tokens, 2)
    assert out["kept"].to_pylist() == [None, 0, None, None, 0, None]
    assert out["shingles"].to_pylist() == [36, 36, None, None, 36, 1]


def test_one_line_of_ten_megabytes() -> None:
    big = " ".join(f"{i * 2654435761 % 2**32:x}" for i in range(1_200_000))
    assert len(big) > 10_000_000
    assert kept([big, "small", big[:-50_000], big[::-1]]) == [None, None, 0, None]


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
    assert hashlib.sha256(bytes_).hexdigest()[:16] == "bff1291c089fe745"


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="give both or neither"):
        MinhashDedup(bands=4)
    with pytest.raises(ValidationError, match="192 is more than permutations = 128"):
        MinhashDedup(bands=24, rows=8)
    with pytest.raises(ValidationError, match="keep"):
        MinhashDedup(keep="random")
    with pytest.raises(ValidationError, match=r"size_ratio = 3\.0 is for measure: containment"):
        MinhashDedup(size_ratio=3)
    with pytest.raises(ValidationError, match="punctuation: keep is for unit: words"):
        MinhashDedup(unit="characters", punctuation="keep")
    with pytest.raises(ValidationError, match="keep: longest counts the bytes of a text"):
        MinhashDedup(unit="tokens", keep="longest", column="ids")
    with pytest.raises(ValidationError, match="domain: \\[\\] must name at least one value"):
        MinhashDedup(prefer={"domain": []})


def test_the_plan_explains_the_bands() -> None:
    assert MinhashDedup().explain().splitlines()[:4] == [
        "17 bands of 7 rows: 119 of 128 permutations",
        "jaccard     0.5    0.6    0.7    0.8    0.9      1",
        "found, %   12.5   38.3   76.8   98.2  100.0  100.0",
        "expected misses at 0.8: 1.8 % of the pairs of documents that have no other copy",
    ]
    within = MinhashDedup(measure="containment", threshold=0.75, size_ratio=3).explain().splitlines()
    assert within[1].split()[-7:] == ["0.5", "0.6", "0.7", "0.75", "0.8", "0.9", "1"]
    assert "an estimated Jaccard index of 0.119: 0.231 less" in within[4]


def test_signatures_do_not_depend_on_the_seed_of_the_run() -> None:
    assert MinhashDedup().seed == MinhashDedup().parts()[1].fields["seed"] == 1
