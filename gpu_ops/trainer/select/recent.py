"""Losses that were seen lately: of any rows, in a ring, and of every row the last one."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.select.selector import Arrays, Bools, Floats, Ints


class Ring:
    """The last `size` losses, oldest first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept = np.zeros(0)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, losses: Floats) -> None:
        self._kept = np.concatenate([self._kept, losses])[-self.size :]

    def rank(self, losses: Floats) -> Floats:
        """(n,) the share of the kept losses that are at or below each; of those equal to it, half and the
        mean rank (as scipy.stats.percentileofscore's `rank`)."""
        ordered = np.sort(self._kept)
        left = np.searchsorted(ordered, losses, side="left")
        right = np.searchsorted(ordered, losses, side="right")
        return np.asarray((left + right + (right > left)) / (2 * max(1, len(ordered))), np.float64)

    def quantile(self, share: float) -> float:
        """The loss that this share of the kept ones is at or below; infinite while none is kept."""
        return float(np.quantile(self._kept, share)) if len(self._kept) else float("inf")

    def rank_among(self, positive: Bools) -> float:
        """The probability that one of the kept numbers marked positive is larger than another, ties counting
        half: the area under the ROC curve (Mann & Whitney 1947)."""
        order = np.sort(self._kept)
        at = np.searchsorted(order, self._kept, "left") + np.searchsorted(order, self._kept, "right") + 1
        ranks, yes, no = at / 2, int(positive.sum()), int((~positive).sum())
        return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))

    @property
    def values(self) -> Floats:
        """The kept losses, oldest first."""
        return self._kept

    @property
    def mean(self) -> float:
        return float(self._kept.mean())

    @property
    def std(self) -> float:
        return float(self._kept.std())

    def state(self) -> Arrays:
        return {"ring": self._kept}

    def restore(self, state: Arrays) -> None:
        self._kept = np.array(state["ring"], np.float64)


class LastLosses:
    """The last loss of every row that was seen, and how often it was used since. 16 bytes for each row."""

    def __init__(self) -> None:
        self._loss = np.zeros(0)
        self._uses = np.zeros(0, np.int64)

    def get(self, rows: Ints) -> Floats:
        """(n,) losses, NaN for rows that were never seen."""
        self._grow(rows)
        return self._loss[rows]

    def used(self, rows: Ints) -> Ints:
        """(n,) how often `use` was called since the last `put`."""
        self._grow(rows)
        return self._uses[rows]

    def use(self, rows: Ints) -> None:
        self._grow(rows)
        np.add.at(self._uses, rows, 1)

    def put(self, rows: Ints, losses: Floats) -> None:
        """The losses are fresh from now on; of a row that comes more than once the last counts."""
        self._grow(rows)
        self._loss[rows] = losses
        self._uses[rows] = 0

    def _grow(self, rows: Ints) -> None:
        if len(rows) and int(rows.min()) < 0:
            raise ValueError(
                "the losses of rows are to be kept, but in every epoch this data is cut into other rows, "
                "without numbers: take fresh losses, or documents in file order (no shuffling) whose tokens "
                "seq_len divides, or a task with a row for each text"
            )
        more = int(rows.max(initial=-1)) + 1 - len(self._loss)
        if more > 0:
            more = max(more, len(self._loss))
            self._loss = np.concatenate([self._loss, np.full(more, np.nan)])
            self._uses = np.concatenate([self._uses, np.zeros(more, np.int64)])

    def state(self) -> Arrays:
        return {"last_loss": self._loss, "uses": self._uses}

    def restore(self, state: Arrays) -> None:
        self._loss = np.array(state["last_loss"], np.float64)
        self._uses = np.array(state["uses"], np.int64)
