"""The recipe's parts fit together: both counts with the fields of the weight, the target from its file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import World, find

from operators.dsir import Dsir

RAW = ["def f(x): return x", "once upon a time there was", "import os; os.path", "the king of the hill"]
TARGET = ["import sys", "def main(): return None", "class A(object): pass"]


def scored(dsir: Dsir) -> World:
    """What an engine does with the parts, the target's texts put in place of its file."""
    tables = {None: RAW, "target.jsonl": TARGET}
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
    assert weight.fields == {"ngrams": (1, 3), "buckets": 64, "smoothing": 0.5, "normalise": "mean"}
    assert weight.uses == {"raw": "raw", "target": "target"}
