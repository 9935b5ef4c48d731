"""committee: linear classifiers fitted to resampled labels, and how far they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.class_columns import ADDS, PASSES, class_columns, numbers, pass_column
from gpu_ops.kernels.linear import FittedHead, fit_head, labelled, usable
from gpu_ops.kernels.uncertainty import bald
from gpu_ops.kernels.votes import consensus, counts, exponentials, vote_entropy
from operators.contract import Adds, Artifact, Columns, FitOp, Kind, Reads, Uses


class Committee(FitOp):
    """Fits several logistic regressions to bootstrap samples of the labelled rows; where they disagree, a
    label would teach something (query by committee).

    Seung et al. (1992). Adds `vote_entropy`, the entropy (nats) of the members' votes (Dagan & Engelson
    1995); `mean_kl`, the mean divergence (nats) of a member's distribution from the mean one (McCallum &
    Nigam 1998), which is the mutual information of label and member, BALD (Houlsby et al. 2011, arXiv
    1112.5745); and of the mean distribution what `classifier_scores` adds: `probabilities` (of the labels in
    ascending order of their bytes), `predicted`, `confidence`, `least_confidence`, `margin`, `entropy`. With
    `keep_members`, `pass_probabilities`, the members' own, one after the other, as `batch_bald` reads them.

    A row's weight for a member is exponential, of mean 1 (the Bayesian bootstrap, Rubin 1981), or a Poisson
    number of times (Oza & Russell 2001); it depends on (seed, member, key) alone, so that other rows do not
    change it. A label that a Poisson sample lacks has the probability 0 for that member; a member without
    any row takes all labels for equally likely.

    What to expect: choose with `uncertain`, by `vote_entropy`. Final accuracy minus that of random rows
    (MiniLM, ten members), in points: subjectivity, 350 labels, `vote_entropy` +2.2 +- .3, `mean_kl` +1.8
    +- .2 (12 seeds; Poisson +1.9 and +1.5); banking77, 770 labels, +3.5 +- .6 and -12 +- .5 (6 seeds; Poisson
    +1.7 and -16). So with many classes and few rows of each `mean_kl` harms, and labels that samples lack
    are only a part of why: do not use it there. Labelled rows are scored by members that
    most likely saw them: for wrong labels use `classifier_head` with folds.

    All columns are null for rows without an embedding of numbers below 1e18, and everywhere without any
    label. One job, which holds the labelled rows: 24 bytes a number. Needs scikit-learn. ValueError for
    embeddings of different lengths and for more than 4,096 labels.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"members": 3, "seed": 1},
        {"label": "domain", "members": 2, "regularisation": 0.1, "standardise": False}
        | {"bootstrap": "poisson", "keep_members": True, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str = "label"
    """The column of labels: strings or integers, null for unlabelled rows."""
    members: Annotated[int, Field(ge=2, le=1000)] = 10
    """How many classifiers there are."""
    bootstrap: Literal["bayesian", "poisson"] = "bayesian"
    """How rows are weighed: all of them, by exponential weights, or drawn, some often and some never."""
    keep_members: bool = False
    """Whether `pass_probabilities` is added: members times labels numbers a row."""
    standardise: bool = True
    """Whether each number of the embeddings gets the mean 0 and the deviation 1 (of labelled rows) first."""
    regularisation: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the squared coefficients: the inverse of scikit-learn's C."""
    seed: int | None = None
    """Seed of the samples; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        columns = {self.embedding: Kind.VECTOR, self.label: Kind.LABEL}
        return {"uid": pa.int64(), "key": pa.uint64(), **columns}

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64(), self.embedding: Kind.VECTOR}

    @property
    def adds(self) -> Adds:
        own = {"vote_entropy": pa.float32(), "mean_kl": pa.float32()}
        return {**ADDS, **own, **(PASSES if self.keep_members else {})}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for M members, K labels, embeddings of d numbers: `classes` (K,) bytes, each with a full
        stop at its end; `coef` (M, K, d) and `intercept` (M, K), for embeddings as they are."""
        _, key, vectors, names, label = labelled(rows, self.embedding, self.label)
        settings = (len(names), self.standardise, 1 / self.regularisation)
        weights = exponentials if self.bootstrap == "bayesian" else counts
        heads = [
            fit_head(vectors, label, *settings, weights(self.seed or 0, member, key))
            for member in range(self.members)
        ]
        coef = np.stack([head.coef for head in heads])
        return {"classes": names, "coef": coef, "intercept": np.stack([head.intercept for head in heads])}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        n, classes = batch.num_rows, state["classes"]
        rows, vectors = usable(batch.column(self.embedding), np.asarray(batch.column("uid")))
        if not len(classes):
            rows, vectors, state = rows[:0], np.zeros((0, 1), np.float32), _NOBODY
        heads = [FittedHead(*pair) for pair in zip(state["coef"], state["intercept"], strict=True)]
        if not len(rows):
            vectors = np.zeros((0, heads[0].coef.shape[1]), np.float32)
        log_p = np.stack([head.log_probabilities(vectors) for head in heads])
        shown = [name[:-1].decode("utf-8", "replace") for name in classes.tolist()]
        found = dict(class_columns(rows, consensus(log_p), shown, n))
        found["vote_entropy"] = numbers(rows, vote_entropy(log_p), n)
        found["mean_kl"] = numbers(rows, bald(log_p), n)
        if self.keep_members:
            found |= pass_column(rows, log_p, n)
        return found


_NOBODY: Artifact = {"coef": np.zeros((1, 1, 1)), "intercept": np.zeros((1, 1))}
