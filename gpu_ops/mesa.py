"""MESA: a cascade of classifiers on balanced subsets, each drawn by how wrong the ones before are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.cascade import Task, race
from gpu_ops.kernels.pool import Bools, Pool, Wanted, gather
from gpu_ops.kernels.thinning import evidence_columns
from operators.contract import (
    DROP,
    Adds,
    Artifact,
    Columns,
    FitOp,
    Kind,
    Reads,
    Telling,
    Uses,
    drop_column,
)
from operators.kernels.counter import uniform
from operators.kernels.grouping import GroupKey, group_name, show_name
from operators.kernels.lookup import places

_STREAM = 0x6D657361  # keeps apart from other operators that share a seed


class Mesa(FitOp, Telling):
    """Trains decision trees one after the other, on all rows of the rare class and as many others, which are
    drawn by the error e of the trees so far: with weight exp(-(e - mu)^2 / (2 sigma^2)).

    Liu et al. 2020 (arXiv 2010.08830, equation 4), but mu is one of `mus`, chosen on validation rows by the
    area under the precision-recall curve, instead of by a policy that soft actor-critic learns. On the
    paper's Mammography data (`workflows/undersampling.py`) that is as good within the paper's own deviation
    over runs, at 1/30 of the fits: reinforcement learning adds at most .02 to .04 there.

    `probability`: of the rare class, by all trees, for every row with a vector, also one without a label;
    rows that trees were trained on look surer than they are. `hardness`: the distance of the probability from
    the label. `weight`: how many trees were trained on the row, null for rows that are not trained on.
    Rows with the weight 0 go, as "never_sampled": what stays is the part of the common class that a
    classifier needs most. Rows without a label or a vector stay.

    What to expect: it is for features that trees can use (tables; embeddings less so), and for rankings of a
    rare class. Mu near 1 draws the rows that the trees call rare, so mislabelled ones too.

    `mus` compete: all up to 4 trees, the better two up to 10, then the best: 42 fits for 20 trees. One job;
    it holds all vectors. Needs scikit-learn. Whatever mu is best is told at the end of the run.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"label": "domain", "positive": "wiki", "learners": 3, "mus": [0.2], "mark": True, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of vectors: lists of floats, all of one length (`vector` makes them of numeric columns)."""
    label: str = "label"
    """The column of labels: strings or integers, null for rows that only get a probability."""
    positive: GroupKey | None = None
    """The rare class; the smallest one, when not given. All others together are the common class."""
    learners: Annotated[int, Field(ge=1, le=1000)] = 10
    """Trees."""
    mus: Annotated[tuple[float, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """The errors to draw around, from which one is chosen: 0 for easy rows, 1 for those that look rare."""
    sigma: Annotated[float, Field(gt=0)] = 0.2
    """How far around mu."""
    validation: str | None = None
    """A boolean column: where it is true, a labelled row is not trained on but helps to choose mu."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Without `validation`: the share of the labelled rows that does, by (seed, key)."""
    max_depth: Annotated[int, Field(ge=1)] | None = None
    """The depth of the trees; until their leaves are pure, when not given."""
    mark: bool = False
    """Only adds the columns; no row is dropped."""
    seed: int | None = None
    """Seed of all draws; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        told: Reads = {self.validation: pa.bool_()} if self.validation else {}
        return {
            "uid": pa.int64(),
            "key": pa.uint64(),
            self.embedding: Kind.VECTOR,
            self.label: Kind.LABEL,
            **told,
        }

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {**({} if self.mark else {"drop": DROP}), **_EVIDENCE}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for n rows with a vector, by uid: `uid`, `probability`, `hardness` and `weight` (n,), NaN
        for null; for M values of mu, the best first: `mu`, `area` (on validation rows) and `trees` (M,);
        `rare`, the name of the rare class."""
        wanted = Wanted(vectors=[self.embedding], labels=[self.label], labelled=self.validation)
        pool, _, _ = gather(rows, wanted)
        known, positive, name = self._classes(pool)
        judges = known & self._judges(pool)
        trained = known & ~judges
        order = np.lexsort((pool.uid, pool.key))
        task = Task(
            np.asarray(pool.vectors[self.embedding], np.float32),
            positive,
            order[(trained & positive)[order]],
            order[(trained & ~positive)[order]],
            np.flatnonzero(judges),
            pool.key,
            self.sigma,
            self.max_depth,
            (self.seed or 0) ^ _STREAM,
        )
        empty = np.full(len(pool), np.nan)
        told = {"mu": np.zeros(0), "area": np.zeros(0), "trees": np.zeros(0, np.int64)}
        told |= {"rare": np.array([name])}
        if not len(task.rare) or not len(task.common):
            return {"uid": pool.uid, "probability": empty, "hardness": empty, "weight": empty, **told}
        raced = race(task, self.mus, self.learners)
        probability = raced[0].total / raced[0].learners
        told |= {
            "mu": np.array([one.mu for one in raced]),
            "area": np.array([one.course[-1] for one in raced]),
            "trees": np.array([one.learners for one in raced]),
        }
        hardness = np.where(known, np.abs(probability - positive), np.nan)
        weight = np.where(trained, raced[0].times, np.nan)
        return {"uid": pool.uid, "probability": probability, "hardness": hardness, "weight": weight, **told}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        place, have = places(np.asarray(batch.column("uid")), state["uid"])
        out = evidence_columns(place, have, state, _EVIDENCE)
        if self.mark:
            return out
        never = np.asarray(out["weight"].fill_null(1.0)) == 0
        return {"drop": drop_column(np.where(never, 0, -1), ["never_sampled"]), **out}

    def tell(self, state: Artifact) -> str:
        if not len(state["mu"]):
            which = "" if self.positive is None else f", {show_name(group_name(self.positive))} and another"
            return f"there are no two classes with a vector to train on{which}: nothing was learned"
        lines = [f"rare class: {show_name(state['rare'][0])}; {state['trees'].sum():,} trees were fitted"]
        for i, (mu, area, trees) in enumerate(zip(state["mu"], state["area"], state["trees"], strict=True)):
            chosen = ", chosen" if i == 0 else ""
            lines.append(f"mu {mu:g}: area under precision-recall {area:.3f} with {trees} trees{chosen}")
        if np.isnan(state["area"][0]):
            lines.append("the validation rows lack a class: the first mu was taken, give more of them")
        return "\n".join(lines)

    def _classes(self, pool: Pool) -> tuple[Bools, Bools, bytes]:
        """Which rows have a label, which are of the rare class, and its name."""
        found = pool.labels[self.label]
        if not len(pool):
            return np.zeros(0, bool), np.zeros(0, bool), b""
        known = found.names[found.code] != b""
        if self.positive is not None:
            name = group_name(self.positive)
        else:
            sizes = np.bincount(found.code, minlength=len(found.names))
            there = np.flatnonzero(found.names != b"")
            name = bytes(found.names[there[np.argmin(sizes[there])]]) if len(there) else b"."
        return known, known & (found.names[found.code] == name), name

    def _judges(self, pool: Pool) -> Bools:
        """(n,) which rows choose mu, if they have a label."""
        if self.validation is not None:
            return pool.taken
        luck = uniform(((self.seed or 0) ^ _STREAM) + 1, pool.key)
        return np.asarray(luck < self.validation_share)


_EVIDENCE: Adds = {"probability": pa.float64(), "hardness": pa.float64(), "weight": pa.float64()}
