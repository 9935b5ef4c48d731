"""What the tests of selectors inside the training loop share."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.selector import Scores, Selector


def rows_of(count: int, first: int = 0, tokens: int = 0) -> Batch:
    """Rows with numbers: classified vectors, or (tokens > 0) rows of tokens."""
    numbers = np.arange(first, first + count)
    if tokens:
        inputs = (numbers[:, None] * 7 + np.arange(tokens)) % 50
        return Batch(inputs, inputs + 1, numbers)
    vectors = np.random.default_rng(first).normal(size=(count, 4)).astype(np.float32)
    return Batch(vectors, numbers % 3, numbers)


def again(selector: Selector, fresh: Selector) -> Selector:
    """Another selector of the same settings that goes on from the first one's state."""
    fresh.restore({name: np.array(one) for name, one in selector.state().items()})
    return fresh


def losses(seed: int, count: int) -> Scores:
    """Losses, as a forward pass would give them."""
    return Scores(loss=np.random.default_rng(seed).exponential(size=count))
