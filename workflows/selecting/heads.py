"""What a classifier of the chosen rows is worth on held-out ones.

Legend: m training rows, t test rows, d numbers in an embedding, C labels.
"""

from __future__ import annotations

import warnings

import numpy as np

from gpu_ops.kernels.linear import FittedHead, fit_head
from workflows.selecting.task import Float32s, Int64s

INVERSE = 10.0  # of the regularisation, for embeddings of mean squared length 1: the best of 1, 10, 100 for
# random rows on subjectivity and banking77, at 100 and 1,000 of them taken together
NEIGHBOURS = 5
MEASURES = ("logistic", "logistic_f1", "knn", "knn_f1")


def head_of(x: Float32s, label: Int64s, classes: int) -> FittedHead:
    """Logistic regression, as the selectors' own heads are."""
    with warnings.catch_warnings():
        # scikit-learn takes many labels of few rows for a regression problem.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return fit_head(x, label, classes, standardise=False, c=INVERSE)


def predicted(head: FittedHead, x: Float32s) -> Int64s:
    """(t,) the likeliest label of each row."""
    return head.log_probabilities(x).argmax(axis=1)


def voted(x: Float32s, label: Int64s, test_x: Float32s, classes: int) -> Int64s:
    """(t,) the label with the most votes of the 5 nearest training rows by cosine, each of which counts
    exp(10 cosine); a stand-in for a language model that is shown similar examples."""
    a, b = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (test_x, x))
    cosine = a @ b.T
    k = min(NEIGHBOURS, len(x))
    near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    votes = np.zeros((len(test_x), classes))
    rows = np.repeat(np.arange(len(test_x)), k)
    weight = np.exp(10 * np.take_along_axis(cosine, near, axis=1).astype(np.float64))
    np.add.at(votes, (rows, label[near].ravel()), weight.ravel())
    return votes.argmax(axis=1)


def macro_f1(label: Int64s, guess: Int64s, classes: int) -> float:
    """The mean F1 of the labels that are in the test rows or are predicted."""
    hits = np.bincount(label[label == guess], minlength=classes)
    both = np.bincount(label, minlength=classes) + np.bincount(guess, minlength=classes)
    return float(np.mean(2 * hits[both > 0] / both[both > 0]))


def measured(x: Float32s, label: Int64s, test_x: Float32s, test: Int64s, classes: int) -> dict[str, float]:
    """Accuracy and macro F1 of both classifiers, trained on x (m, d), label (m,), on the test rows."""
    found: dict[str, float] = {}
    guesses = {
        "logistic": predicted(head_of(x, label, classes), test_x),
        "knn": voted(x, label, test_x, classes),
    }
    for name, guess in guesses.items():
        found[name] = float(np.mean(guess == test))
        found[f"{name}_f1"] = macro_f1(test, guess, classes)
    return found
