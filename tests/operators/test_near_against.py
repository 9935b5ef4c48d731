"""The verdict of an index, against brute force."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run
from near_corpora import corpus, jaccard, ngrams
from near_indexes import write_part

from operators.kernels.near_part import part_tag
from operators.minhash_dedup import MinhashDedup

# Bands that meet every pair; thresholds that no small set has, further than the estimate errs.
SURE = {"bands": 512, "rows": 2, "permutations": 1024, "ngram": 2}


def against(op: MinhashDedup, texts: list[str], batch_rows: int = 1000) -> dict[str, list]:
    """The columns of the part `against`, of all rows."""
    world = World(pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows, None)
    world.execute("face", op, {})
    return {
        name.removeprefix("/against."): column.to_pylist()
        for name, column in world.columns.items()
        if name.startswith("/against.")
    }


def containment(a: str, b: str) -> float:
    one, two = ngrams(a, 2), ngrams(b, 2)
    return len(one & two) / len(one) if one else 0.0


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.485, 0.68]),
    measure=st.sampled_from(["jaccard", "containment"]),
    side=st.sampled_from(["new", "indexed"]),
    batch_rows=st.integers(1, 40),
)
def test_a_document_meets_every_indexed_one_that_is_similar_enough(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    threshold: float,
    measure: str,
    side: str,
    batch_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("index")
    texts = corpus(seed, 60)
    old, new = [t for t in texts[:30] if t], texts[30:]
    ids = [f"old-{i}" for i in range(len(old))]
    ratio = {"size_ratio": 13} if measure == "containment" else {}  # the largest set has 13 n-grams
    fields = {"threshold": threshold, "measure": measure, "side": side, **ratio, **SURE}
    op = MinhashDedup(**fields, against=(write_part(folder, MinhashDedup(**fields), old, ids),))
    found = against(op, new, batch_rows)
    for i, text in enumerate(new):
        near = [similar(old[k], text, measure, side) for k in range(len(old))]
        hits = [k for k in range(len(old)) if near[k] >= threshold]
        if side == "indexed":
            assert found["supersedes"][i] == ([ids[k] for k in hits] or None)
            assert [r & 0xFFFFFFFF for r in found["superseded"][i] or []] == hits
            continue
        best = max(hits, key=lambda k: (near[k], -k)) if hits else None
        assert found["drop"][i] == ("near_duplicate_of_index" if hits else None)
        assert found["kept_id"][i] == (None if best is None else ids[best])
        assert found["kept_source"][i] == (None if best is None else "hand")
        assert found["similarity"][i] == (None if best is None else pytest.approx(near[best]))


def similar(old: str, new: str, measure: str, side: str) -> float:
    if measure == "jaccard":
        return jaccard(old, new, 2)
    return containment(new, old) if side == "new" else containment(old, new)


def test_who_goes_is_out_of_the_rest_of_the_recipe(tmp_path: Path) -> None:
    fields = {"threshold": 0.485, **SURE}
    path = write_part(tmp_path, MinhashDedup(**fields), ["a b c d e f"], ["old"])
    texts = ["a b c d e f", "k l m n o p", "a b c d e f g", "k l m n o p q"]
    out = run(MinhashDedup(**fields, against=(path,)), pa.table({"text": pa.array(texts, pa.large_string())}))
    assert out["kept"].to_pylist() == [None, None, None, 1]
    assert out["drop"].to_pylist() == [None, None, None, "near_duplicate"]


def test_a_superseded_document_is_gone(tmp_path: Path) -> None:
    fields = {"threshold": 0.485, **SURE}
    first = write_part(tmp_path, MinhashDedup(**fields), ["a b c d e f", "u v w x y z"], ["old", "other"])
    gone = part_tag(Path(first).stem) << 32
    second = write_part(tmp_path, MinhashDedup(**fields), ["k l m n o p"], ["new"], [gone])
    op = MinhashDedup(**fields, against=(first, second))
    found = against(op, ["a b c d e f", "u v w x y z", "k l m n o p"])
    assert found["kept_id"] == [None, "other", "new"]


def test_ties_go_to_the_first_in_the_order_of_the_indexes(tmp_path: Path) -> None:
    fields = {"threshold": 0.485, **SURE}
    paths = [
        write_part(
            tmp_path, MinhashDedup(**fields), ["k l m n o p", "a b c d e f", "a b c d e f"], list(name)
        )
        for name in ("xyz", "uvw")
    ]
    for order in (paths, paths[::-1]):
        op = MinhashDedup(**fields, against=tuple(order))
        assert against(op, ["a b c d e f"])["kept_id"] == ["y" if order is paths else "v"]
