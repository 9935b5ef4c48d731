"""The open edges of documents: earlier near duplicates on whose fate theirs depends still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.asking import TWIN
from operators.kernels.lists import filled, flat

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

NOBODY = -1  # in the place of a kept partner: there is none

_LISTS = {"open": pa.list_(pa.int64()), "nearness": pa.list_(pa.float32())}
# Where the edges are -> the columns to read: at first those that were verified and a twin's to its first.
EDGES: Mapping[str, Mapping[str, pa.DataType]] = {
    "verify": {
        "/same.twin": pa.int64(),
        "/verify.edges": pa.list_(pa.int64()),
        "/verify.similarity": pa.list_(pa.float32()),
    },
    "last.ask": {f"last.ask.{name}": kind for name, kind in _LISTS.items()},
    "ask": {f"/ask.{name}": kind for name, kind in _LISTS.items()},
}


def open_edges(batch: pa.RecordBatch, source: str) -> tuple[Int64s, Int64s, Floats]:
    """(lengths (n,), partner uids, their similarities): TWIN for a twin's edge. source: a key of EDGES."""
    *twins, edges, similarity = (batch.column(name) for name in EDGES[source])
    lengths, partner = flat(edges)
    _, nearness = flat(similarity)
    if not twins:
        return lengths, partner, nearness
    twin = filled(twins[0], NOBODY)
    rows = np.flatnonzero(twin >= 0)
    order = np.argsort(np.concatenate([np.repeat(np.arange(len(twin)), lengths), rows]), kind="stable")
    partner = np.concatenate([partner, twin[rows]])[order]
    nearness = np.concatenate([nearness, np.full(len(rows), TWIN)])[order]
    return lengths + (twin >= 0), partner, nearness


def best_of_each(n: int, row: Int64s, partner: Int64s, similarity: Floats) -> tuple[Int64s, Floats]:
    """(partner (n,), similarity (n,)) of the most similar partner of each row, of equal ones the least
    uid; NOBODY and 0 for rows without."""
    order = np.lexsort((partner, -similarity, row))
    first = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    best, near = np.full(n, NOBODY, np.int64), np.zeros(n, np.float32)
    best[row[first]], near[row[first]] = partner[first], similarity[first]
    return best, near


def solve(edges: Mapping[str, npt.NDArray[Any]]) -> tuple[Int64s, Int64s, Floats]:
    """(uids ascending, kept partner or NOBODY, similarity) of the documents that have edges, decided in
    keep order: one goes if and only if a partner stays, for the most similar of those.

    edges, (E,) each: uid, tier, rank (the document's place in keep order), partner, similarity, and
    known: the partner is known to stay. A partner without edges of its own stays.
    """
    fate: dict[int, tuple[int, float]] = {}
    order = np.lexsort([edges["uid"], edges["rank"], edges["tier"]])
    columns = (edges[name][order].tolist() for name in ("uid", "partner", "similarity", "known"))
    for one, other, near, known in zip(*columns, strict=True):
        by, similarity = fate.setdefault(one, (NOBODY, 0.0))
        theirs = (NOBODY, 0.0) if known else fate.get(other, (NOBODY, 0.0))
        if theirs[0] != NOBODY and near <= 1:
            continue
        new, near = (other, min(near, 1.0)) if theirs[0] == NOBODY else theirs
        if by == NOBODY or (-near, new) < (-similarity, by):
            fate[one] = (new, near)
    uids = sorted(fate)
    kept = np.array([fate[uid][0] for uid in uids], np.int64)
    return np.array(uids, np.int64), kept, np.array([fate[uid][1] for uid in uids], np.float32)
