"""Linear classifiers that say how predictable labels are.

Legend: n rows, d numbers in each row's vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

ITERATIONS = 50  # of L-BFGS: from there on hardly any prediction changes


def classifier(kind: Literal["logistic", "ridge"]) -> Any:
    """A new scikit-learn classifier."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    return LogisticRegression(max_iter=ITERATIONS) if kind == "logistic" else RidgeClassifier()


def fitted(model: Any, vectors: Any, label: Int64s) -> Any:
    """The model, trained; that it stopped before it converged is no news."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(vectors, label)


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
