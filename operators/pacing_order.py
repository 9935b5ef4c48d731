"""The place of each text in a curriculum, from its difficulty alone."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import model_validator

from operators.contract import Adds, Artifact, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.counter import uniform
from operators.kernels.drawing import above_diagonal, composed, draw_times
from operators.kernels.ordering import float64_order, unit_order
from operators.kernels.pacing import Line, Pacing
from operators.quantiles import distribution, number_column, percentiles

_DRAW, _TIES = 0x64726177, 0x74696573  # two streams of numbers, apart from operators that share a seed
_LAST = np.uint64(2**64 - 1)

UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


class PacingOrder(MapOp):
    """Adds `order`, the time at which a pacing function draws the text, as a fixed-point uint64.

    Uses the artifact `quantiles` of the difficulty. Each text draws its time from the law that
    sampling among the available texts has (`kernels/drawing.py`), so nobody has to be sorted or
    simulated, and no text comes before it is available. Texts without a difficulty (null, nan) come
    last. `sort` needs no noise: it stretches the value's own order-preserving bits.

    ValueError for a pacing by percentile that makes less available than one pass draws.
    """

    version: ClassVar[int] = 2
    # It needs the artifact of `quantiles`: the laws run it as a part of `curriculum`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    column: str
    """The numeric column that says how difficult a text is."""

    pacing: Pacing = Pacing()
    """How what is available grows with time, or a plain sort by difficulty."""

    by: Literal["percentile", "value"] = "percentile"
    """Whether that is a share of the texts or of the range from the least to the greatest difficulty."""

    descending: bool = False
    """Whether large values are the easy ones."""

    seed: int | None = None
    """Seed of the draw; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_pass_can_follow(self) -> Self:
        below = self.pacing.below() if self.by == "percentile" and self.pacing.kind != "sort" else None
        if below is not None:
            raise ValueError(
                f"pacing {self.pacing.kind}: at time {below[0]:.3g} only {below[1]:.3g} of the texts would "
                f"be available, but an order, every text once, has drawn {below[0]:.3g} by then; begin with "
                "a larger `start`, end sooner (`over`), or let the trainer draw texts again: export with "
                "`pacing: sort` and give this pacing to the trainer"
            )
        self.pacing.first()
        return self

    @property
    def reads(self) -> Reads:
        needs_key = {} if self.pacing.kind == "sort" else {"key": pa.uint64()}
        return {self.column: Kind.NUMBER, **needs_key}

    @property
    def adds(self) -> Adds:
        return {"order": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        values = number_column(batch.column(self.column))
        known = ~np.isnan(values)
        if self.pacing.kind == "sort":
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
        easy = np.nan_to_num(1 - percentile if self.descending else percentile, nan=1.0)
        line = self.pacing.line() if self.by == "percentile" else self._by_value(state)
        return unit_order(draw_times(easy, uniform(seed ^ _DRAW, key), line))

    def _by_value(self, state: Artifact) -> Line:
        """The share of the texts whose difficulty lies in the part of the range that the pacing gives."""
        values, shares = distribution(state)
        spread = values[-1] - values[0] if len(values) else 0.0
        if spread <= 0:
            return np.array([0.0, 1.0]), np.array([1.0, 1.0])
        if self.descending:
            values, shares = -values[::-1], 1 - shares[::-1]
        return above_diagonal(composed(self.pacing.line(), (values - values[0]) / spread, shares))
