"""Sequences of unequal length in batches of a bounded size, halved where the device has not the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

Int64s = npt.NDArray[np.int64]


MOST_PADDING = 1 / 16
LEAST_FILLED = 1 / 8  # of the budget, from where padding may end a pack


class Budgeted(Protocol):
    """Whatever a device runs in batches. budget: tokens of one batch, padding included."""

    budget: int
    device: str


def for_packs(
    lengths: Sequence[int] | Int64s, model: Budgeted, run: Callable[[Int64s], None], what: str = "window"
) -> None:
    """Calls `run` with the indices of sequences of like length, the longest first, each index once.

    A batch padded to its longest sequence has at most `model.budget` tokens, or is one sequence. When
    `run` is out of memory, the budget is halved, for good, and the batch is tried again in two parts.
    MemoryError when one sequence alone (`what`, for the message) does not fit.
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    pending = list(_packs(sizes, order, model.budget))[::-1]
    while pending:
        pack = pending.pop()
        if _fits(sizes, model, run, pack, what):
            continue
        model.budget = max(model.budget // 2, 1)
        pending.extend(np.array_split(pack, 2)[::-1])


def _packs(sizes: Int64s, order: Int64s, budget: int) -> Iterator[Int64s]:
    """Runs of `order` (longest first) whose padded size is at most `budget` tokens, or one sequence. A
    run that is well filled ends before more than a sixteenth of it would be padding."""
    while len(order):
        longest = int(sizes[order[0]])
        candidates = order[: max(budget // max(longest, 1), 1)]
        padded = longest * np.arange(1, len(candidates) + 1)
        wasteful = padded - np.cumsum(sizes[candidates]) > padded * MOST_PADDING
        filled = padded - longest >= budget * LEAST_FILLED
        rows = int(np.argmax(wasteful & filled)) or len(candidates)
        yield order[:rows]
        order = order[rows:]


def _fits(sizes: Int64s, model: Budgeted, run: Callable[[Int64s], None], pack: Int64s, what: str) -> bool:
    """Whether the device had the memory to run this pack."""
    try:
        run(pack)
        return True
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator has no own class
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        if len(pack) == 1:
            raise MemoryError(
                f"one {what} of {sizes[pack[0]]} tokens does not fit on {model.device}: "
                "lower `max_tokens` or `batch_tokens`, or take a smaller model"
            ) from error
    if model.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return False
