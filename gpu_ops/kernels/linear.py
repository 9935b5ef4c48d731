"""Linear classifiers that say how predictable labels are.

Legend: n rows, d numbers in each row's vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.kernels.uncertainty import log_softmax
from gpu_ops.kernels.unit_grid import dense
from operators.kernels.counter import UInt64s
from operators.kernels.grouping import Names, group_codes

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

MOST = 1e18  # a number from which on squares overflow in float32
ITERATIONS = 50  # of L-BFGS: from there on hardly any prediction changes
HEAD_ITERATIONS = 1000  # where probabilities count


def classifier(kind: Literal["logistic", "ridge"]) -> Any:
    """A new scikit-learn classifier."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    return LogisticRegression(max_iter=ITERATIONS) if kind == "logistic" else RidgeClassifier()


def fitted(model: Any, vectors: Any, label: Int64s, weight: Float64s | None = None) -> Any:
    """The model, trained; that it stopped before it converged is no news. One thread makes the sums, so that
    their number changes no bit; for matrices as small as these, several are slower anyway."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")  # so few rows
        return model.fit(vectors, label) if weight is None else model.fit(vectors, label, weight)


def usable(column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, Float32s]:
    """The rows with an embedding of numbers below 1e18, ascending, and their vectors (m, d); as `dense`."""
    rows, numbers = dense(column, uid, dimensions)
    wide = numbers.astype(np.promote_types(numbers.dtype, np.float32), copy=False)  # 1e18 is no float16
    known = (np.abs(wide) < MOST).all(axis=1)
    return rows[known], wide[known].astype(np.float32)


def labelled(
    rows: Iterable[pa.RecordBatch], embedding: str, label: str
) -> tuple[Int64s, UInt64s, Float32s, Names, Int64s]:
    """Of the rows with a label and a usable embedding, in an order by key: uid, key, vectors (n, d), the
    names of the labels, ascending, and which of them each row has (n,)."""
    uids, keys, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], [np.zeros(0, "S1")]
    vectors: list[Float32s] = []
    for batch in rows:
        uid = np.asarray(batch.column("uid"))
        width = next((part.shape[1] for part in vectors if part.shape[1]), 0)
        have, numbers = usable(batch.column(embedding), uid, width)
        names, codes = group_codes(batch.column(label), batch.num_rows)
        known = names[codes[have]] != b""
        have = have[known]
        uids.append(uid[have])
        keys.append(np.asarray(batch.column("key"))[have])
        vectors.append(numbers[known])
        labels.append(names[codes[have]])
    wide = [part for part in vectors if part.shape[1]] or [np.zeros((0, 1), np.float32)]
    uid, key = np.concatenate(uids), np.concatenate(keys)
    order = np.lexsort((uid, key))
    names, code = np.unique(np.concatenate(labels), return_inverse=True)
    return uid[order], key[order], np.concatenate(wide)[order], names, code.reshape(-1)[order]


def standardised(vectors: Float32s) -> Float32s:
    """Every column with the mean 0 and the deviation 1 (0 where it is constant), in place."""
    if len(vectors):
        vectors -= vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = np.sqrt(np.mean(np.square(vectors), axis=0, dtype=np.float64)).astype(np.float32)
        vectors /= np.where(deviation > 0, deviation, 1)
    return vectors


def share_correct(
    vectors: Float32s, label: Int64s, trainings: Iterable[Int64s], kind: Literal["logistic", "ridge"]
) -> Float32s:
    """(n,) how often the models that were not trained on a row predict its label; NaN for no model.

    trainings: the rows of each training set. One with a single label predicts that label.
    """
    correct, asked = np.zeros(len(label)), np.zeros(len(label))
    for rows in trainings:
        held = np.ones(len(label), bool)
        held[rows] = False
        if len(np.unique(label[rows])) > 1:
            model = fitted(classifier(kind), vectors[rows], label[rows])
            predicted = model.predict(vectors[held])
        else:
            predicted = label[rows[:1]]
        correct[held] += predicted == label[held]
        asked += held
    share = np.full(len(label), np.nan, np.float32)
    np.divide(correct, asked, out=share, where=asked > 0, casting="unsafe")
    return share


@dataclass(frozen=True)
class FittedHead:
    """Logistic regression of K classes. coef: (K, d) and intercept: (K,), for vectors as they are."""

    coef: Float64s
    intercept: Float64s

    def log_probabilities(self, vectors: Float32s) -> Float64s:
        """(n, K) in nats; -infinity for a class that the model has not seen."""
        if vectors.shape[1] != self.coef.shape[1]:
            raise ValueError(
                f"the embeddings have {vectors.shape[1]} numbers, but the head was fitted to "
                f"{self.coef.shape[1]}: embed all rows with one model"
            )
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # as in `fitted`
            return log_softmax(vectors.astype(np.float64) @ self.coef.T + self.intercept)


def fit_head(
    vectors: Float32s,
    label: Int64s,
    classes: int,
    standardise: bool,
    c: float,
    weight: Float64s | None = None,
) -> FittedHead:
    """scikit-learn's logistic regression with its inverse regularisation `c`. The coefficients absorb the
    standardisation. A class without a row gets the intercept -infinity; of one class alone all are 0.
    weight: (n,) how often each row counts; one of weight 0 is as good as none, but for the standardisation.
    """
    wide = vectors.astype(np.float64)
    coef = np.zeros((classes, wide.shape[1]))
    seen = np.unique(label if weight is None else label[weight > 0])
    intercept = np.full(classes, -np.inf)
    intercept[seen] = 0
    if len(seen) < 2:
        return FittedHead(coef, intercept if len(seen) else np.zeros(classes))
    mean, scale = np.zeros(wide.shape[1]), np.ones(wide.shape[1])
    if standardise:
        mean, deviation = wide.mean(axis=0), wide.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1)
    from sklearn.linear_model import LogisticRegression

    wide = (wide - mean) / scale
    if weight is not None:
        wide, label, weight = wide[weight > 0], label[weight > 0], weight[weight > 0]
    model = fitted(LogisticRegression(C=c, max_iter=HEAD_ITERATIONS, tol=1e-6), wide, label, weight)
    two = len(seen) == 2  # then there is one row of coefficients, for the second class
    coef[seen[1:] if two else seen] = model.coef_ / scale
    intercept[seen[1:] if two else seen] = model.intercept_
    return FittedHead(coef, intercept - (coef * mean).sum(axis=1))
