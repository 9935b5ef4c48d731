"""classifier_head: a linear classifier on embeddings, fitted to the rows that have a label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.class_columns import ADDS, GOLD, class_columns, gold_columns
from gpu_ops.kernels.linear import FittedHead, fit_head, labelled, usable
from operators.contract import Adds, Artifact, Columns, FitOp, Kind, Reads, Uses
from operators.kernels.counter import UInt64s, uniform
from operators.kernels.grouping import group_codes
from operators.kernels.lookup import places

_STREAM = 0x68656164  # keeps apart from other operators that share a seed


class ClassifierHead(FitOp):
    """Fits logistic regression on embeddings to the labelled rows and scores all rows with it.

    Adds what `classifier_scores` adds: `probabilities` (of the labels in ascending order of their bytes;
    `classes` of the artifact names them), `predicted`, `confidence`, `least_confidence`, `margin`, `entropy`
    (nats), and for labelled rows `p_label`, `loss` (nats) and `el2n`. Rows with a null label are unlabelled.

    With `folds`, a labelled row is scored by a model that was not fitted on it, which is what finds wrong
    and hard labels; the others are scored by the model of all labelled rows. Which fold a row is in
    depends on (seed, key). A label that none of the other folds has gets the probability 0 and an infinite
    loss; where the other folds have no row at all, all labels are equally likely.

    All columns are null for rows without an embedding of numbers below 1e18. One job, which holds the
    labelled rows: 16 bytes a number. Needs scikit-learn. ValueError for embeddings of different lengths
    and for more than 4,096 labels. Fewer than two labels: a single label has the probability 1
    everywhere, and without any there is nothing to score, so that all columns are null.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"label": "domain", "folds": 3, "regularisation": 0.1, "standardise": False, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str = "label"
    """The column of labels: strings or integers, null for unlabelled rows."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = 5
    """In how many folds labelled rows are scored out of sample; null: by the model of all."""
    standardise: bool = True
    """Whether each number of the embeddings gets the mean 0 and the deviation 1 (of labelled rows) first."""
    regularisation: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the squared coefficients: the inverse of scikit-learn's C."""
    seed: int | None = None
    """Seed of the folds; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        columns = {self.embedding: Kind.VECTOR, self.label: Kind.LABEL}
        return {"uid": pa.int64(), "key": pa.uint64(), **columns}

    @property
    def adds(self) -> Adds:
        return {**ADDS, **GOLD}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for F models (that of all rows is the last), K labels, embeddings of d numbers: `classes`
        (K,) bytes, each with a full stop at its end; `coef` (F, K, d) and `intercept` (F, K), for embeddings
        as they are."""
        _, key, vectors, names, label = labelled(rows, self.embedding, self.label)
        fold = self._fold(key)
        trainings = [fold != number for number in range(self.folds or 0)]
        trainings.append(np.ones(len(key), bool))
        heads = [
            fit_head(vectors[rows], label[rows], len(names), self.standardise, 1 / self.regularisation)
            for rows in trainings
        ]
        coef, intercept = (
            np.stack([head.coef for head in heads]),
            np.stack([head.intercept for head in heads]),
        )
        return {"classes": names, "coef": coef, "intercept": intercept}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        n, classes = batch.num_rows, state["classes"]
        rows, vectors = usable(batch.column(self.embedding), np.asarray(batch.column("uid")))
        if not len(classes):
            nothing = np.zeros((0, 1))
            return {**class_columns(rows[:0], nothing, [], n), **gold_columns(rows[:0], nothing, rows[:0], n)}
        names, codes = group_codes(batch.column(self.label), n)
        place, known = places(names, classes)
        label = np.where(known, place, -1)[codes][rows]
        last = len(state["coef"]) - 1
        model = np.where(label >= 0, self._fold(np.asarray(batch.column("key"))[rows]), last)
        log_p = np.zeros((len(rows), len(classes)))
        for number in np.unique(model):
            head = FittedHead(state["coef"][number], state["intercept"][number])
            log_p[model == number] = head.log_probabilities(vectors[model == number])
        shown = [name[:-1].decode("utf-8", "replace") for name in classes.tolist()]
        return {**class_columns(rows, log_p, shown, n), **gold_columns(rows, log_p, label, n)}

    def _fold(self, key: UInt64s) -> np.ndarray:
        """(n,) the number of the model by which a labelled row is scored."""
        folds = self.folds or 1
        return (uniform((self.seed or 0) ^ _STREAM, key) * folds).astype(np.int64)
