"""TYROGUE: random rows, then different ones of them, then the uncertain ones of these."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from gpu_ops.kernels.clusters import ROUNDS, clustered
from gpu_ops.kernels.informative import most_informative
from gpu_ops.kernels.pool import Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp


class Tyrogue(SelectOp):
    """Takes random candidates, the row nearest to each centre of `ratio` times k clusters, and k of these.

    Maekawa et al. (2022, 'Low-resource interactive active labeling for fine-tuning language models'), the
    steps of their code: `candidates` rows at random; k-means with ratio * k clusters, of each the row
    nearest to its centre (no step where there are fewer candidates); of these the k with the highest `score`.
    A ratio of 1 looks for diversity alone, as they do where there is no model yet; a high one for
    uncertainty. The random step is what makes it fast: the cost does not grow with the pool.

    What to expect: after a small random start it lost to random rows (20 seeds, MiniLM embeddings): 100 rows
    after 20 of subjectivity, -.020 +- .009; 400 after 200 of banking77, -.019 +- .005. In two rounds of 100
    after 100 it won (`workflows/compare_selectors.py`): +.008 +- .001 and +.069 +- .005.

    Unlike theirs the embeddings are taken as they are (normalise them where lengths say nothing), and
    missing clusters are filled up as in `kmeans_sample`, not by chance. `weighted_kmeans` looks at all rows
    and lets the uncertain ones pull. What is uncertain first comes first; `weight` is the number of rows in
    its cluster, 1 without clusters. One job, 2 * candidates * ratio * k * d operations a round; memory:
    8 bytes a number of the candidates beside the pool.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_rows": 5, "score": "score", "ratio": 2, "candidates": 40, "seed": 1},
        {"keep_share": 0.4, "score": "words", "descending": False, "labelled": "domain", "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    score: str = "entropy"
    """The column that says how uncertain a row is."""
    descending: bool = True
    """Whether high scores are uncertain (entropy); otherwise low ones (margin, confidence)."""
    candidates: Annotated[int, Field(ge=1)] | None = 10_000
    """How many rows are looked at, at least as many as are chosen; null for all."""
    ratio: Annotated[float, Field(ge=1)] = 3
    """Clusters for each wanted row."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = ROUNDS
    """Rounds of k-means at most."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(vectors=[self.embedding], numbers=[self.score])

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        seed, score = self.seed or 0, pool.numbers[self.score] * (1 if self.descending else -1)
        most = len(pool) if self.candidates is None else max(self.candidates, k)
        rows = most_informative(pool, np.zeros(len(pool)), most, seed)
        clusters, weight = int(self.ratio * k), np.ones(len(rows))
        if len(rows) > clusters:
            x, key = pool.wide(self.embedding, rows), pool.key[rows]
            chosen, weight = clustered(x, clusters, key, seed, rounds=self.rounds).representatives(clusters)
            rows = rows[chosen]
        best = np.argsort(-score[rows], kind="stable")[:k]
        return Choice(rows[best], weight[best])
