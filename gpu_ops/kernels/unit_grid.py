"""Embeddings as unit vectors on an integer grid, on which dot products are exact in any order.

Legend: n rows of a column, m of them usable, d numbers in an embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.lists import bounds

Int16s = npt.NDArray[np.int16]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

# The length of a vector on the grid: 15 bits and a sign. A cosine is off by about 1e-5 (standard deviation),
# and a product of two vectors is at most 2**31, far below the 2**53 up to which float64 holds integers.
GRID = 32767
MAX_DIMENSIONS = 4096


def unit_grid(column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, Int16s]:
    """The usable rows (m,), ascending, and their vectors of length GRID, (m, d) int16.

    Nothing can be compared with a null, an empty list, a vector of zeros, or one with a null, NaN or
    infinity in it: those are not usable. Else as in `dense`.
    """
    rows, vectors = dense(column, uid, dimensions)
    cells, usable = to_grid(vectors.astype(np.float64))
    return rows[usable], cells[usable]


def dense(column: pa.Array, uid: Int64s, dimensions: int = 0) -> tuple[Int64s, npt.NDArray[Any]]:
    """The rows with a vector that is not empty, ascending, and their numbers (m, d); a null in it is NaN.

    column: a list, large_list or fixed_size_list of floats. dimensions: d, where it is known. ValueError,
    with the uid, for a vector of another size.
    """
    starts, lengths = _bounds(column)
    rows = np.flatnonzero(lengths > 0)
    values = np.asarray(column.values.to_numpy(zero_copy_only=False))
    if not len(rows):
        return rows, np.zeros((0, dimensions), values.dtype)
    wanted = dimensions or int(lengths[rows[0]])
    if len(other := rows[lengths[rows] != wanted]):
        known = "those before" if dimensions else f"uid {uid[rows[0]]}"
        raise ValueError(
            f"the embedding has {lengths[other[0]]} numbers at uid {uid[other[0]]}, but {wanted} at {known}: "
            "embed all rows with one model, or drop the others before"
        )
    if wanted > MAX_DIMENSIONS:
        raise ValueError(f"the embeddings have {wanted} numbers, at most {MAX_DIMENSIONS} are possible")
    return rows, values[starts[rows][:, None] + np.arange(wanted)]


def to_grid(vectors: Float64s) -> tuple[Int16s, npt.NDArray[np.bool_]]:
    """(m, d) int16 vectors of length GRID, and which of them have a direction; the others are zeros."""
    if not vectors.size:
        return np.zeros(vectors.shape, np.int16), np.zeros(len(vectors), bool)
    with np.errstate(invalid="ignore"):
        largest = np.abs(vectors).max(axis=1)
    usable = np.isfinite(largest) & (largest > 0)
    scaled = np.where(usable[:, None], vectors, 0) / np.where(usable, largest, 1)[:, None]
    length = np.sqrt((scaled * scaled).sum(axis=1))  # of at least 1, so that nothing under- or overflows
    return np.rint(scaled * (GRID / np.where(usable, length, 1))[:, None]).astype(np.int16), usable


def lengths_of(cells: npt.NDArray[np.signedinteger[Any]]) -> Float64s:
    """(m,) exact lengths of vectors on the grid, but for one rounding."""
    numbers = cells.astype(np.float64)
    return np.sqrt((numbers * numbers).sum(axis=1))


def one_size(column: str, a: tuple[int, int], b: tuple[int, int]) -> None:
    """ValueError where the embeddings of two summaries, (numbers, a uid) each, differ in size."""
    if a[0] != b[0]:
        raise ValueError(
            f"{column} has {a[0]} numbers at uid {a[1]}, but {b[0]} at uid {b[1]}: "
            "embed all rows with one model, or drop the others before"
        )


def _bounds(column: pa.Array) -> tuple[Int64s, Int64s]:
    """(starts, lengths), (n,) each, into `column.values`; a null has the length 0."""
    if not pa.types.is_fixed_size_list(column.type):
        return bounds(column)
    width = column.type.list_size
    lengths = np.full(len(column), width)
    if column.null_count:
        lengths[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return (column.offset + np.arange(len(column))) * width, lengths
