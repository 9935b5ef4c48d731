"""A random number for each row, by its key."""

from __future__ import annotations

import pyarrow as pa

from operators.contract import Adds, Columns, MapOp, Reads, Uses
from operators.kernels.counter import random_bits

_STREAM = 0x72616E646B6579  # keeps apart from other operators that share a seed


class RandomKey(MapOp):
    """Adds `priority`, 64 random bits that depend on the seed and the row's key alone.

    The rows with the largest priorities are a uniform random sample, and stay one when files are
    added or the corpus is cut otherwise.
    """

    seed: int | None = None
    """Seed of the random numbers; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {"key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"priority": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        key = batch.column("key").to_numpy(zero_copy_only=False)
        return {"priority": pa.array(random_bits((self.seed or 0) ^ _STREAM, key), pa.uint64())}
