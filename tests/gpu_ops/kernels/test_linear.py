"""Linear classifiers are the same bits with any number of threads."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from gpu_ops.kernels.linear import fit_head


def test_the_number_of_threads_changes_no_bit() -> None:
    """It did: the sums of L-BFGS and of the predictions were shared out among the threads that there were."""
    luck = np.random.default_rng(0)
    vectors = luck.normal(size=(1500, 384)).astype(np.float32)
    label = luck.integers(0, 3, 1500)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            head = fit_head(vectors, label, classes=3, standardise=True, c=1.0)
            found.append((head.coef, head.intercept, head.log_probabilities(vectors)))
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one, two)
