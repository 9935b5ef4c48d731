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

# In the place of a kept partner: there is none; who is near is not known yet.
NOBODY, UNSURE = -1, -2

_LISTS = {"open": pa.list_(pa.int64()), "nearness": pa.list_(pa.float32())}
_VERIFIED = {"edges": pa.list_(pa.int64()), "similarity": pa.list_(pa.float32())}
_FIRST = {"/same.twin": pa.int64(), **{f"/verify.{name}": kind for name, kind in _VERIFIED.items()}}
# Where the edges are -> the columns to read: at first those that were verified and a twin's to its first.
EDGES: Mapping[str, Mapping[str, pa.DataType]] = {
    "verify": {**_FIRST, "/near.cut": pa.bool_()},
    "reverify": {**_FIRST, **{f"/reverify.{name}": kind for name, kind in _VERIFIED.items()}},
    "last.ask": {f"last.ask.{name}": kind for name, kind in _LISTS.items()},
    "ask": {f"/ask.{name}": kind for name, kind in _LISTS.items()},
}


def open_edges(batch: pa.RecordBatch, source: str) -> tuple[Int64s, Int64s, Floats]:
    """(lengths (n,), partner uids, their similarities): TWIN for a twin's edge. source: a key of EDGES.

    A document that may have more near ones than are known has an edge to itself: it waits."""
    column = {name: batch.column(name) for name in EDGES[source]}
    if source not in ("verify", "reverify"):
        edges, similarity = column.values()
        lengths, partner = flat(edges)
        return lengths, partner, flat(similarity)[1]
    n = batch.num_rows
    found = [
        _listed(column[f"/{part}.edges"], column[f"/{part}.similarity"])
        for part in ("verify", "reverify")
        if f"/{part}.edges" in column
    ]
    twin = filled(column["/same.twin"], NOBODY)
    rows = np.flatnonzero(twin >= 0)
    found.append((rows, twin[rows], np.full(len(rows), TWIN)))
    if "/near.cut" in column:
        rows = np.flatnonzero(column["/near.cut"].to_numpy(zero_copy_only=False))
        found.append((rows, np.asarray(batch.column("uid"))[rows], np.zeros(len(rows), np.float32)))
    row, partner, nearness = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(row, kind="stable")
    return np.bincount(row, minlength=n), partner[order], nearness[order]


def _listed(edges: pa.Array, similarity: pa.Array) -> tuple[Int64s, Int64s, Floats]:
    """(row, partner, similarity) of each edge."""
    lengths, partner = flat(edges)
    return np.repeat(np.arange(len(lengths)), lengths), partner, flat(similarity)[1]


def best_of_each(n: int, row: Int64s, partner: Int64s, similarity: Floats) -> tuple[Int64s, Floats]:
    """(partner (n,), similarity (n,)) of the most similar partner of each row, of equal ones the least
    uid; NOBODY and 0 for rows without."""
    order = np.lexsort((partner, -similarity, row))
    first = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    best, near = np.full(n, NOBODY, np.int64), np.zeros(n, np.float32)
    best[row[first]], near[row[first]] = partner[first], similarity[first]
    return best, near


def solve(edges: Mapping[str, npt.NDArray[Any]]) -> tuple[Int64s, Int64s, Floats]:
    """(uids ascending, kept partner, NOBODY or UNSURE, similarity) of the documents that have edges,
    decided in keep order: one goes if and only if a partner stays, for the most similar of those. Whether
    one stays that has an edge to itself, or to such a one, and does not go for another is not known.

    edges, (E,) each: uid, tier, rank (the document's place in keep order), partner, similarity, and
    known: the partner is known to stay. A partner without edges of its own stays.
    """
    fate: dict[int, tuple[int, float]] = {}
    unsure: set[int] = set()
    order = np.lexsort([edges["uid"], edges["rank"], edges["tier"]])
    columns = (edges[name][order].tolist() for name in ("uid", "partner", "similarity", "known"))
    for one, other, near, known in zip(*columns, strict=True):
        by, similarity = fate.setdefault(one, (NOBODY, 0.0))
        if one == other or (other in unsure and not known):
            if by == NOBODY:
                unsure.add(one)
            continue
        theirs = (NOBODY, 0.0) if known else fate.get(other, (NOBODY, 0.0))
        if theirs[0] != NOBODY and near <= 1:
            continue
        new, near = (other, min(near, 1.0)) if theirs[0] == NOBODY else theirs
        if by == NOBODY or (-near, new) < (-similarity, by):
            fate[one] = (new, near)
            unsure.discard(one)
    uids = sorted(fate)
    kept = np.array([UNSURE if uid in unsure else fate[uid][0] for uid in uids], np.int64)
    return np.array(uids, np.int64), kept, np.array([fate[uid][1] for uid in uids], np.float32)
