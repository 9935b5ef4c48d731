"""The regions of AcTune, and which rows of them to label and which to trust."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from gpu_ops.kernels.clusters import ROUNDS, Clusters, clustered
from gpu_ops.kernels.informative import informative
from gpu_ops.kernels.pool import Float64s, Int64s, Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp
from operators.contract import Artifact, Telling


class ActuneRegions(SelectOp, Telling):
    """Finds regions by weighted k-means, chooses the most uncertain rows of the most uncertain regions.

    A part of `actune`, which says more. Artifact: that of all selectors, and `pseudo` (p,), uids of the least
    uncertain rows, ascending; `value` (r,) of each region, the highest first, and `picked` (r,) rows of it.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    score: str = "entropy"
    """How uncertain a row is, at least 0."""
    predicted: str = "predicted"
    """What the model takes it for."""
    regions: Annotated[int, Field(ge=1)] = 25
    """Clusters."""
    rows_per_region: Annotated[int, Field(ge=1)] = 10
    """Rows taken of a region before the next one has its turn."""
    beta: Annotated[float, Field(ge=0)] = 0.5
    """What the mix of predictions in a region counts beside its mean uncertainty."""
    pseudo_rows: Annotated[int, Field(ge=0)] = 0
    """How many of the least uncertain rows are trusted."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = ROUNDS
    """Rounds of k-means at most."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(vectors=[self.embedding], numbers=[self.score], labels=[self.predicted])

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        rows = np.flatnonzero(~pool.taken)
        unsure = informative(pool, self.score, descending=True)[rows]
        x, label = pool.wide(self.embedding, rows), pool.labels[self.predicted].code[rows]
        found = clustered(x, self.regions, pool.key[rows], self.seed or 0, unsure, self.rounds)
        value = region_values(found, unsure, label, self.beta)
        order = visits(found.label, unsure, value, self.rows_per_region)
        picked = np.bincount(found.label[order[:k]], minlength=found.k)
        least = order[k:][np.lexsort([order[k:], unsure[order[k:]]])][: self.pseudo_rows]
        best = np.lexsort([np.arange(found.k), -value])
        figures = {"pseudo": np.sort(pool.uid[rows[least]]), "value": value[best], "picked": picked[best]}
        return Choice(rows[order[:k]], figures=figures)

    def tell(self, state: Artifact) -> str:
        if "value" not in state:
            return "nothing to choose from"
        used = state["value"][state["picked"] > 0]
        return (
            f"rows of {len(used)} of {len(state['value'])} regions, uncertainty + beta * mix from "
            f"{used.max():.3g} to {used.min():.3g} (all: down to {state['value'].min():.3g}); "
            f"{len(state['pseudo']):,} rows to trust"
        )


def region_values(found: Clusters, unsure: Float64s, label: Int64s, beta: float) -> Float64s:
    """(r,) mean uncertainty of each region + beta * entropy (nats) of the predictions in it; a region of
    nobody has 0."""
    sizes = np.maximum(found.sizes, 1)
    mean = np.bincount(found.label, unsure, found.k) / sizes
    kinds = int(label.max(initial=0)) + 1
    counts = np.bincount(found.label * kinds + label, minlength=found.k * kinds).reshape(-1, kinds)
    share = counts / sizes[:, None]
    mix = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
    values: Float64s = mean + beta * mix
    return values


def visits(region: Int64s, unsure: Float64s, value: Float64s, at_once: int) -> Int64s:
    """(n,) all rows in the order in which they are taken: in turn from each region, that of the highest value
    first, the `at_once` most uncertain ones that are left of it; of equals the first."""
    order = np.lexsort([np.arange(len(region)), -unsure, region])
    starts = np.searchsorted(region[order], np.arange(len(value)))
    turn = np.empty(len(region), np.int64)
    turn[order] = (np.arange(len(region)) - starts[region[order]]) // at_once
    return np.lexsort([np.arange(len(region)), -unsure, region, -value[region], turn])
