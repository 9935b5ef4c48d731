"""The place of each text in a curriculum, from its difficulty alone."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.counter import uniform
from operators.kernels.ordering import float64_order, unit_order
from operators.kernels.pacing import draw_times
from operators.quantiles import number_column, percentiles

_DRAW, _TIES = 0x64726177, 0x74696573  # two streams of numbers, apart from operators that share a seed
_LAST = np.uint64(2**64 - 1)

UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


class PacingOrder(MapOp):
    """Adds `order`, the time at which a pacing function draws the text, as a fixed-point uint64.

    Uses the artifact `quantiles` of the difficulty. Each text draws its time from the law that
    sampling among the available texts has (`kernels/pacing.py`), so nobody has to be sorted or
    simulated, and no text comes before it is available. Texts without a difficulty (null, nan) come
    last. `sort` needs no noise: it stretches the value's own order-preserving bits.
    """

    # It needs the artifact of `quantiles`: the laws run it as a part of `curriculum`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    column: str
    """The numeric column that says how difficult a text is."""

    pacing: Literal["linear", "root", "sort"] = "root"
    """How the share of available texts grows with time, or a plain sort by difficulty."""

    start: float = Field(0.01, gt=0, le=1)
    """The share of the texts, the easiest ones, that is available at the beginning."""

    power: float = Field(2.0, ge=1)
    """The p of root pacing, c(t)^p = start^p + (1 - start^p) t: larger ones open up faster."""

    descending: bool = False
    """Whether large values are the easy ones."""

    seed: int | None = None
    """Seed of the draw; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        needs_key = {} if self.pacing == "sort" else {"key": pa.uint64()}
        return {self.column: Kind.NUMBER, **needs_key}

    @property
    def adds(self) -> Adds:
        return {"order": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        values = number_column(batch.column(self.column))
        known = ~np.isnan(values)
        if self.pacing == "sort":
            order = self._sorted(np.where(known, values, 0.0), uses["quantiles"])
        else:
            key = batch.column("key").to_numpy(zero_copy_only=False)
            order = self._drawn(values, key, uses["quantiles"])
        return {"order": pa.array(np.where(known, order, _LAST), pa.uint64())}

    def _sorted(self, values: Floats, state: Artifact) -> UInt64s:
        """The values' bits, counted from the easy end and shifted up as far as they go."""
        least, most = state["least"][0], state["most"][0]
        bits = np.clip(float64_order(values), least, max(least, most))
        spread = max(int(most) - int(least), 0)
        return (most - bits if self.descending else bits - least) << np.uint64(
            64 - max(spread.bit_length(), 1)
        )

    def _drawn(self, values: Floats, key: UInt64s, state: Artifact) -> UInt64s:
        """Times from the percentile of the difficulty and the text's own random numbers."""
        seed = self.seed or 0
        percentile = percentiles(state, values, uniform(seed ^ _TIES, key))
        easy = 1 - percentile if self.descending else percentile
        power = self.power if self.pacing == "root" else 1.0
        drawn = draw_times(np.nan_to_num(easy, nan=1.0), uniform(seed ^ _DRAW, key), self.start, power)
        return unit_order(drawn)
