"""The recipe's parts fit together: both counts with the fields of the weight, the target from its file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import World, find

from operators.dsir import Dsir

RAW = ["def f(x): return x", "once upon a time there was", "import os; os.path", "the king of the hill"]
TARGET = ["import sys", "def main(): return None", "class A(object): pass"]
TALES = ["once there was a king", "the hill of the king"]


def scored(dsir: Dsir) -> World:
    """What an engine does with the parts, the target's texts put in place of its file."""
    tables = {None: RAW, "target.jsonl": TARGET, "tales.jsonl": TALES}
    world = World(pa.table({"text": pa.array(RAW, pa.large_string())}), 2, None)
    for part in dsir.parts():
        where = world
        if part.source:
            where = World(pa.table({"text": pa.array(tables[part.source], pa.large_string())}), 2, None)
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    return world


def test_texts_like_the_target_weigh_more() -> None:
    world = scored(Dsir(target="target.jsonl", buckets=500))
    weight = np.asarray(world.columns["/weight.log_weight"])
    assert set(np.argsort(-weight)[:2]) == {0, 2}


def test_parts_share_their_fields() -> None:
    raw, target, weight = Dsir(target="t.jsonl", ngrams=(1, 3), buckets=64, smoothing=0.5).parts()
    assert raw.fields == target.fields == {"ngrams": (1, 3), "buckets": 64}
    assert (raw.source, target.source) == (None, "t.jsonl")
    assert weight.fields == {
        "ngrams": (1, 3),
        "buckets": 64,
        "smoothing": 0.5,
        "normalise": "mean",
        "targets": (),
        "combine": "max",
    }
    assert weight.uses == {"raw": "raw", "target": "target"}


def test_several_targets_are_those_one_by_one() -> None:
    files = {"python": "target.jsonl", "tales": "tales.jsonl"}
    each = [weights(scored(Dsir(target=file, buckets=500))) for file in files.values()]
    largest = scored(Dsir(target=files, buckets=500))
    mean = scored(Dsir(target=files, buckets=500, combine="mean"))
    np.testing.assert_array_equal(weights(largest), np.max(each, axis=0))
    np.testing.assert_allclose(weights(mean), np.mean(each, axis=0), atol=1e-15)
    assert largest.columns["/weight.target"].to_pylist() == ["python", "tales", "python", "tales"]
    assert mean.columns["/weight.target"].equals(largest.columns["/weight.target"])


def weights(world: World) -> np.ndarray:
    return np.asarray(world.columns["/weight.log_weight"])


def test_names_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has letters, digits, _ and - only, not 'a/b'"):
        Dsir(target={"a/b": "t.jsonl"})
    with pytest.raises(ValueError, match="with at least one"):
        Dsir(target={})
