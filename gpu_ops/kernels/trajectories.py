"""How the loss of every row falls while a linear classifier is trained, epoch for epoch.

Legend: n rows, d numbers in each row's vector, K classes, E epochs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.linear import Float32s, Int64s

BATCH = 200  # rows a step
# Adam moves a weight by about its rate in a step, and so a logit by the rate times the numbers of a vector.
# The rate is such that in all steps a logit could move so far: .001 for 10,000 rows of 384 numbers, where
# .01 was no better. So few rows, or short vectors, are learnt as far as many.
TRAVEL, FASTEST = 192.0, 0.05
LEAST = 1e-12  # what a probability counts as at least, so that no loss is infinite
DIGITS = 4  # of a loss, so that the last bits of a product's sum move no neighbour


def trajectories(vectors: Float32s, label: Int64s, classes: int, epochs: int, seed: int) -> Float32s:
    """(n, E) the loss (nats) of each row's label after each epoch.

    Softmax regression by Adam (scikit-learn's MLPClassifier without a hidden layer). vectors: (n, d),
    standardised; their order and `seed` say which rows are in a step together.
    """
    from sklearn.neural_network import MLPClassifier

    out = np.zeros((len(label), epochs), np.float32)
    present = np.unique(label)
    if len(present) < 2:
        return out
    wide = vectors.astype(np.float64)
    rows = np.arange(len(label))
    column = np.searchsorted(present, label)
    size = min(BATCH, len(label))
    rate = rate_of(len(label), vectors.shape[1], epochs)
    model = MLPClassifier((), batch_size=size, learning_rate_init=rate, random_state=seed)
    for epoch in range(epochs):
        model.partial_fit(wide, column, classes=np.arange(len(present)) if epoch == 0 else None)
        p = model.predict_proba(wide)
        of_label = p[rows, column] if len(present) > 2 else np.where(column == 1, p[:, 1], p[:, 0])
        out[:, epoch] = np.round(-np.log(np.maximum(of_label, LEAST)), DIGITS)
    return out


def rate_of(rows: int, dimensions: int, epochs: int) -> float:
    """Adam's rate for so many rows of so many numbers."""
    return min(FASTEST, TRAVEL / (max(dimensions, 1) * epochs * -(-rows // BATCH)))


def other_label(label: Int64s, share: npt.NDArray[np.float64], classes: int) -> Int64s:
    """(n,) for each row one of the other classes; which one `share` (n,) in (0, 1) says."""
    return (label + 1 + (share * (classes - 1)).astype(np.int64)) % classes
