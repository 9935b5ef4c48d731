"""Texts after the cuts that an operator made: what a row below an editing operator reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import CUTS
from operators.kernels.jit import kernel
from operators.kernels.lists import bounds
from operators.kernels.text_buffers import text_buffers

Int64s = npt.NDArray[np.int64]

_MIDDLE, _HEAD = 0xC0, 0x80  # a UTF-8 byte in the middle of a character is 10xxxxxx


@kernel
def _lengths(
    data: Any, starts: Any, ends: Any, firsts: Any, counts: Any, cut: Any, size: Any, out: Any
) -> int:
    """Writes each text's length after its cuts; the first row whose cuts are wrong, or -1."""
    low, high = cut
    for row in range(len(starts)):
        last, length = np.int64(0), ends[row] - starts[row]
        for i in range(firsts[row], firsts[row] + counts[row]):
            a, b = low[i], high[i]
            if a < last or b < a or b > ends[row] - starts[row]:
                return row
            for at in (a, b):
                if starts[row] + at < ends[row] and data[starts[row] + at] & _MIDDLE == _HEAD:
                    return row
            length += size[i + 1] - size[i] - (b - a)
            last = b
        out[row + 1] = out[row] + length
    return -1


@kernel
def _copy(
    data: Any, starts: Any, ends: Any, firsts: Any, counts: Any, cut: Any, size: Any, fill: Any, out: Any
) -> None:
    low, high = cut
    to = 0
    for row in range(len(starts)):
        at = starts[row]
        for i in range(firsts[row], firsts[row] + counts[row]):
            keep = starts[row] + low[i] - at
            out[to : to + keep] = data[at : at + keep]
            to += keep
            more = size[i + 1] - size[i]
            out[to : to + more] = fill[size[i] : size[i + 1]]
            to += more
            at = starts[row] + high[i]
        keep = ends[row] - at
        out[to : to + keep] = data[at : at + keep]
        to += keep


def apply_cuts(texts: pa.Array, cuts: pa.Array) -> pa.Array:
    """The n texts (large_string) after their cuts (n, `CUTS`; null or empty: none); a null stays null.

    Raises ValueError, with the row in the batch, where cuts do not ascend, overlap, leave the text or
    part a character.
    """
    firsts, counts = bounds(cuts)
    if not counts.any():
        return texts
    pieces = cuts.values
    low, high = (np.asarray(pieces.field(name)) for name in ("start", "end"))
    fill, fill_starts, fill_ends = text_buffers(pieces.field("text").cast(pa.large_string()).fill_null(""))
    size = np.concatenate([fill_starts[:1], fill_ends]) if len(fill_ends) else np.zeros(1, np.int64)
    data, starts, ends = text_buffers(texts)
    offsets = np.zeros(len(texts) + 1, np.int64)
    bad = _lengths(data, starts, ends, firsts, counts, (low, high), size, offsets)
    if bad >= 0:
        raise ValueError(
            f"cuts {cuts[bad].as_py()} of row {bad} of the batch do not fit its text of "
            f"{ends[bad] - starts[bad]} bytes: they must ascend, not overlap, and lie between characters"
        )
    out = np.empty(offsets[-1], np.uint8)
    _copy(data, starts, ends, firsts, counts, (low, high), size, fill, out)
    valid = texts.is_valid().buffers()[1] if texts.null_count else None
    return pa.LargeStringArray.from_buffers(
        len(texts), pa.py_buffer(offsets), pa.py_buffer(out), valid, texts.null_count
    )


def deletions(row: Int64s, start: Int64s, end: Int64s, rows: int) -> pa.Array:
    """The `cuts` column (rows,) that deletes bytes start[i]:end[i] of the text of row[i], in order of the
    rows; null where nothing goes."""
    counts = np.bincount(row, minlength=rows)
    parts = [pa.array(start), pa.array(end), pa.nulls(len(start), pa.string())]
    cuts = pa.StructArray.from_arrays(parts, fields=[*CUTS.value_type])
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, cuts, type=CUTS, mask=pa.array(counts == 0))


def bytes_cut(cuts: pa.Array) -> Int64s:
    """(n,) by how many bytes the cuts (n, `CUTS`) shorten each text; negative where they lengthen it."""
    starts, lengths = bounds(cuts)
    pieces = cuts.values
    fill = np.asarray(pc.fill_null(pc.binary_length(pieces.field("text")), 0)).astype(np.int64)
    low, high = (np.asarray(pieces.field(name)) for name in ("start", "end"))
    total = np.concatenate([[0], np.cumsum(high - low - fill)])
    return total[starts + lengths] - total[starts]


def reference(text: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """One text after its cuts, the last one first."""
    for start, end, instead in reversed(cuts):
        text = text[:start] + instead + text[end:]
    return text
