"""The integer grids of k-means: unit vectors for the cosine, a box around all rows for Euclidean distances.

Legend: n vectors, k centres, d numbers in each.

On both grids every product of two vectors is a sum of integers below 2**53 and every cell fits in 24 bits,
so float64 gives products exactly and float32 holds cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.kernels.unit_grid import GRID, dense, lengths_of, to_grid, unit_grid

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int16] | npt.NDArray[np.int32]
Arrays = Mapping[str, npt.NDArray[Any]]

# (k,) scale and (k,) shift, or None for none
Scoring = tuple[Float64s, Float64s | None]

WEIGHT_BITS = 16  # of the largest weight


class Grid(Protocol):
    """How vectors lie on integers, and what is near there."""

    @property
    def largest(self) -> int:
        """What no cell exceeds."""

    def cells(self, column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, Cells]:
        """The usable rows (m,), ascending, and their vectors (m, d); errors as in `dense`."""

    def scoring(self, centres: Cells) -> Scoring:
        """(k,) scale and shift: the nearest centre has the highest product * scale + shift."""

    def closeness(self, score: Float64s, cells: Cells) -> Float64s:
        """(n,) what people read: the cosine, or the distance in the column's own unit."""

    def apart(self, products: Float64s, own: Scoring, centres: Scoring) -> Float64s:
        """(n, k) from products (n, k) and both sides' scoring: what grows like the squared distance."""

    def middles(self, sums: Int64s, mass: Int64s, centres: Cells) -> Cells:
        """(k, d) where the centres belong, by the sum of their clusters; one without any stays."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `grid_of` makes it of."""


LARGEST = 1e15  # of a number in a Euclidean vector


@dataclass(frozen=True)
class UnitGrid:
    """Directions: vectors of length 32,767, see `unit_grid`."""

    largest: int = GRID

    def cells(self, column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, Cells]:
        return unit_grid(column, uid, dimensions)

    def scoring(self, centres: Cells) -> Scoring:
        return 1 / lengths_of(centres), None

    def closeness(self, score: Float64s, cells: Cells) -> Float64s:
        return score / lengths_of(cells)

    def apart(self, products: Float64s, own: Scoring, centres: Scoring) -> Float64s:
        # Half the squared distance of unit vectors; of different directions never 0, but for rounding.
        return np.maximum(1 - products * centres[0] * own[0][:, None], 1e-12)

    def middles(self, sums: Int64s, mass: Int64s, centres: Cells) -> Cells:
        there, usable = to_grid(sums.astype(np.float64))
        return np.where(usable[:, None], there, centres)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {}


@dataclass(frozen=True)
class BoxGrid:
    """Places: (x - offset) * 2**exponent, rounded; |cell| <= `largest`, a power of two that depends on d.

    A distance is off by about sqrt(d) * 2**-exponent / 4: for d = 384 the box around all rows has 2**22
    steps along its longest side, more than float32 has between 0.5 and 1.
    """

    offset: Float64s
    exponent: int
    largest: int

    @classmethod
    def around(cls, low: Float64s, high: Float64s) -> BoxGrid:
        """The finest grid for vectors between (d,) low and high, all finite."""
        bits = min(24, (51 - int(np.ceil(np.log2(len(low))))) // 2)
        offset = low / 2 + high / 2
        half = float(np.maximum(high - offset, offset - low).max())
        return cls(offset, bits - int(np.frexp(half)[1]) if half else 0, 1 << bits)

    def cells(self, column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, Cells]:
        rows, vectors = dense(column, uid, dimensions)
        usable = placed(vectors)
        inside = vectors[usable].astype(np.float64)
        if len(inside):  # else its width may be unknown
            inside -= self.offset
        return rows[usable], np.rint(np.ldexp(inside, self.exponent)).astype(np.int32)

    def scoring(self, centres: Cells) -> Scoring:
        numbers = centres.astype(np.float64)
        return np.ones(len(centres)), (numbers * numbers).sum(axis=1) / -2

    def closeness(self, score: Float64s, cells: Cells) -> Float64s:
        numbers = cells.astype(np.float64)
        return np.ldexp(np.sqrt((numbers * numbers).sum(axis=1) - 2 * score), -self.exponent)

    def apart(self, products: Float64s, own: Scoring, centres: Scoring) -> Float64s:
        assert own[1] is not None
        assert centres[1] is not None
        return -2 * (products + centres[1] + own[1][:, None])

    def middles(self, sums: Int64s, mass: Int64s, centres: Cells) -> Cells:
        mean = np.rint(sums / np.maximum(mass, 1)[:, None]).astype(np.int32)
        return np.where(mass[:, None] > 0, mean, centres)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"offset": self.offset, "step": np.array([self.exponent, self.largest])}


def placed(vectors: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(n,) which vectors have a place that others can be compared with: no NaN, and nothing beyond LARGEST,
    beside which all others would be one point."""
    with np.errstate(invalid="ignore"):
        inside: npt.NDArray[np.bool_] = (np.abs(vectors) <= LARGEST).all(axis=1)
    return inside


UNIT = UnitGrid()


def grid_of(arrays: Arrays) -> Grid:
    """The grid of an artifact that has its `arrays`."""
    if "offset" not in arrays:
        return UNIT
    exponent, largest = arrays["step"].tolist()
    return BoxGrid(arrays["offset"], exponent, largest)
