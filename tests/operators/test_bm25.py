"""BM25 equals plain Python and a sparse product by scipy, the lists a full sort, for any cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, find
from scipy import sparse

from operators.bm25 import Bm25
from operators.bm25_best import Bm25Best
from operators.bm25_choice import Bm25Choice
from operators.bm25_queries import Bm25Queries
from operators.bm25_terms import Bm25Terms
from operators.kernels.bm25 import reference, reference_words

TEXTS = st.lists(st.none() | st.text(st.sampled_from("aAbé 0.-")), max_size=14)


def searched(op: Bm25, texts: list[str | None], target: list[str | None], size: int) -> World:
    """What an engine does with the parts, the target's texts put in place of its file."""
    world = World(pa.table({"text": pa.array(texts, pa.large_string())}), size, None)
    for part in op.parts():
        where = world
        if part.source:
            where = World(pa.table({"text": pa.array(target, pa.large_string())}), size, None)
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    return world


@settings(deadline=None, max_examples=150)
@given(
    TEXTS, TEXTS, st.integers(1, 4), st.sampled_from([(1.2, 0.75), (0.0, 0.0), (2.0, 1.0)]), st.integers(1, 5)
)
def test_equals_plain_python(
    texts: list[str | None], target: list[str | None], top: int, shape: tuple[float, float], size: int
) -> None:
    target = ["a b a", *target]
    op = Bm25(target="t.jsonl", top=top, k1=shape[0], b=shape[1], mark=True)
    world = searched(op, texts, target, size)
    scores = reference([(t or "").encode() for t in target], [(t or "").encode() for t in texts], *shape)
    lists = [sorted(np.flatnonzero(row > 0), key=lambda d, row=row: (-round(row[d], 9), d)) for row in scores]
    best: dict[int, tuple[int, float]] = {}
    for q, found in enumerate(lists):
        for place, d in enumerate(found[:top]):
            here = (place, -round(scores[q, d], 9))
            best[int(d)] = min(best.get(int(d), here), here)
    got = {
        name: world.columns[f"/choice.{name}"].to_pylist() for name in ("best_rank", "score", "query", "rank")
    }
    assert {d for d, place in enumerate(got["best_rank"]) if place is not None} == set(best)
    for d, (place, score) in best.items():
        assert (got["best_rank"][d], got["score"][d]) == (place, pytest.approx(-score, rel=1e-8))
        assert scores[got["query"][d], d] == pytest.approx(got["score"][d], rel=1e-12)
    order = sorted(best, key=lambda d: got["rank"][d])
    assert [best[d] for d in order] == sorted(best.values())
    assert [got["rank"][d] for d in order] == list(range(len(order)))


@settings(deadline=None, max_examples=30)
@given(TEXTS, st.integers(1, 6))
def test_equal_to_the_last_bit_for_any_batch(texts: list[str | None], size: int) -> None:
    op = Bm25(target="t.jsonl", top=3)
    whole, cut = (searched(op, texts, ["a b", "é 0 a"], n).artifacts["best"] for n in (1000, size))
    assert {name: x.tolist() for name, x in whole.items()} == {name: x.tolist() for name, x in cut.items()}


def test_equals_a_sparse_product() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(200)])
    zipf = 1 / np.arange(1, 201)
    texts = [" ".join(rng.choice(words, rng.integers(5, 60), p=zipf / zipf.sum())) for _ in range(300)]
    target = texts[:20]
    world = searched(Bm25(target="t.jsonl", top=10, mark=True), list(texts), list(target), 64)
    place = {
        word: i for i, word in enumerate(sorted({w for t in texts for w in reference_words(t.encode())}))
    }

    def bags(some: list[str]) -> sparse.csr_array:
        cells = [(i, place[w]) for i, t in enumerate(some) for w in reference_words(t.encode())]
        row, column = np.array(cells).T
        return sparse.coo_array((np.ones(len(cells)), (row, column)), (len(some), len(place))).tocsr()

    tf = bags(texts)
    length, df = tf.sum(axis=1), (tf > 0).sum(axis=0)
    idf = np.log(1 + (300 - df + 0.5) / (df + 0.5))
    weight = tf.tocoo()
    norm = 1.2 * (0.25 + 0.75 * length / length.mean())
    weight.data = weight.data / (weight.data + norm[weight.row]) * idf[weight.col]
    scores = (bags(target) @ weight.T.tocsr()).toarray()
    kept = {int(d) for row in scores for d in np.argsort(-row, kind="stable")[:10]}
    score, query = (world.columns[f"/choice.{name}"].to_pylist() for name in ("score", "query"))
    assert {d for d, x in enumerate(score) if x is not None} == kept
    assert [score[d] for d in sorted(kept)] == pytest.approx([scores[query[d], d] for d in sorted(kept)])
    assert all(world.columns["/choice.best_rank"][d].as_py() == 0 for d in range(20))  # itself


def test_a_budget_keeps_the_best_ranks() -> None:
    texts: list[str | None] = ["a", "a b", "b", "c", None, "a b c"]
    world = searched(Bm25(target="t.jsonl", keep_rows=2), texts, ["a b", "c"], 2)
    drop, rank = (world.columns[f"/choice.{name}"].to_pylist() for name in ("drop", "rank"))
    kept = [d for d, reason in enumerate(drop) if reason is None]
    assert sorted(kept) == [1, 3]  # each the best of one
    assert {reason for reason in drop if reason} == {"not_selected"}
    assert sorted(r for r in rank if r is not None) == [0, 1]
    assert world.columns["/choice.best_rank"].to_pylist()[5] is not None


def test_what_it_tells() -> None:
    state = searched(Bm25(target="t.jsonl", top=2), ["a", "a b", "b"], ["a b", "", "c"], 2).artifacts["best"]
    assert Bm25Best(top=2).tell(state) == (
        "2 documents are among the 2 best of any of 2 target rows (1.0 a row), 1 of them the best of one"
    )


def test_no_documents_and_targets_without_words() -> None:
    world = searched(Bm25(target="t.jsonl"), [], ["a"], 2)
    assert world.columns["/choice.rank"].to_pylist() == []
    world = searched(Bm25(target="t.jsonl"), [None, "."], ["a"], 2)
    assert world.columns["/choice.drop"].to_pylist() == ["not_selected"] * 2
    with pytest.raises(ValueError, match="the target has no word"):
        searched(Bm25(target="t.jsonl"), ["a"], [None, "!"], 2)


def test_too_many_places_are_refused() -> None:
    world = World(pa.table({"text": pa.array(["a", "b"], pa.large_string())}), 2, None)
    world.execute("queries", Bm25Queries(), {})
    world.execute("terms", Bm25Terms(), {"queries": "queries"})
    with pytest.raises(ValueError, match=r"2 target rows with 20000000 documents each are more than"):
        world.execute("best", Bm25Best(top=20_000_000), {"queries": "queries", "terms": "terms"})
    assert Bm25Choice(mark=True).adds.keys() == {"rank", "best_rank", "score", "query"}
