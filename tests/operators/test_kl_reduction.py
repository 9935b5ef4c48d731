"""The divergence equals scipy's on counts in plain Python, and a selection towards the target lowers it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, find
from scipy import stats

from operators.contract import Artifact
from operators.kernels.ngrams import reference_buckets
from operators.kl_reduction import KlReduction
from operators.kl_told import KlTold
from operators.ngram_counts import NgramCounts

TEXTS = st.lists(st.none() | st.text(st.sampled_from("abc. é")), max_size=6)


def told(op: KlReduction, texts: list[str | None], target: list[str], size: int = 2) -> Artifact:
    """What an engine does with the parts, where a node `all` has counted some texts before."""
    world = World(pa.table({"text": pa.array(texts, pa.large_string())}), size, None)
    world.artifacts["all"] = counted(["a b c", "x y z", "a x"], op)
    for part in op.parts():
        where = world
        if part.source:
            where = World(pa.table({"text": pa.array(target, pa.large_string())}), 2, None)
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    return world.artifacts["told"]


def counted(texts: list[str], op: KlReduction) -> Artifact:
    world = World(pa.table({"text": pa.array(texts, pa.large_string())}), 9, None)
    world.execute("all", NgramCounts(ngrams=op.ngrams, buckets=op.buckets), {})
    return world.artifacts["all"]


def smoothed(texts: list[str | None], op: KlReduction) -> np.ndarray:
    found = [b for t in texts for b in reference_buckets((t or "").encode(), op.ngrams, op.buckets)]
    return np.bincount(np.array(found, np.int64), minlength=op.buckets) + op.smoothing


@settings(deadline=None)
@given(TEXTS, st.sampled_from([0.1, 1.0]), st.integers(1, 4))
def test_equals_scipy(texts: list[str | None], smoothing: float, size: int) -> None:
    op = KlReduction(target="t.jsonl", raw="all", buckets=23, smoothing=smoothing)
    got = told(op, texts, ["a b", "c"], size)
    target = smoothed(["a b", "c"], op)
    assert got["raw_kl"][0] == pytest.approx(stats.entropy(target, smoothed(["a b c", "x y z", "a x"], op)))
    if smoothed(texts, op).sum() == pytest.approx(23 * smoothing):
        assert np.isnan(got["kl"][0])
    else:
        assert got["kl"][0] == pytest.approx(stats.entropy(target, smoothed(texts, op)), abs=1e-12)


def test_what_it_tells() -> None:
    op = KlReduction(target="t.jsonl", raw="all", buckets=50)
    face = KlTold(buckets=50)
    target = smoothed(["a b c"], op)
    kl = stats.entropy(target, smoothed(["a b", "b c"], op))
    raw = stats.entropy(target, smoothed(["a b c", "x y z", "a x"], op))
    line = face.tell(told(op, ["a b", "b c"], ["a b c"]))
    short = f"KL to the target {kl:.4f} nats over 6 n-grams"
    assert line == f"{short}, reduced by {raw - kl:.4f} from {raw:.4f}"
    alone = face.tell(told(op.model_copy(update={"raw": None}), ["a b", "b c"], ["a b c"]))
    assert alone == short
    assert face.tell(told(op, [None, ""], ["a b c"])) == "no n-gram is left to compare with the target"


def test_counts_that_do_not_fit_are_refused() -> None:
    op = KlReduction(target="t.jsonl", raw="all", buckets=50)
    world = World(pa.table({"text": pa.array(["a"], pa.large_string())}), 2, None)
    uses = {"target": {"counts": np.ones(49, np.int64)}}
    world.artifacts.update(uses)
    with pytest.raises(ValueError, match="target has no counts of 50 buckets"):
        world.execute("told", KlTold(buckets=50), {"target": "target"})
    with pytest.raises(ValueError, match="the target has no text"):
        told(op, ["a"], [""])
