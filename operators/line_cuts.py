"""Where the lines that go stand in their documents, and which documents go with them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import CUTS, DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.cuts import deletions
from operators.kernels.lines import Ignored, Least, Lines, Unit, count_characters, find_units
from operators.kernels.lists import flat
from operators.kernels.text_buffers import text_buffers
from operators.kernels.words import count_words

Int64s = npt.NDArray[np.int64]


class LineCuts(MapOp):
    """Turns the places of lines into `cuts`, with neighbours as one, and drops what is too short then.

    The face of `line_dedup`: reads its part `repeated`, and texts only where a line goes.
    """

    where: ClassVar[str] = "/repeated.any"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    unit: Unit = "line"
    """What is cut: `line` or `paragraph`."""
    ignore: Ignored = ("case", "numbers", "punctuation", "accents")
    """Differences that do not count between lines."""
    min_line: Least = 1
    """Characters of a compared line's form."""
    min_chars: Annotated[int, Field(ge=0)] = 0
    """Characters that must be left."""
    min_words: Annotated[int, Field(ge=0)] = 1
    """Words that must be left."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "/repeated.lines": pa.list_(pa.int32()), "/repeated.any": pa.bool_()}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "cuts": CUTS, "lines_cut": pa.int32(), "bytes_cut": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        data, starts, ends = text_buffers(batch.column("text"))
        counts, places = flat(batch.column("/repeated.lines"))
        lines = Lines.of(self.unit, self.ignore, self.min_line)
        begin, end = find_units(data, starts, ends, lines, counts, places.astype(np.int64))
        row = np.repeat(np.arange(len(starts)), counts)
        whole = counts == 0
        short = self._short((data, starts, ends), (data, begin, end), row) & ~whole
        return {
            "drop": drop_column(np.where(short, 0, -1), ["too_short_after_line_dedup"]),
            "cuts": _cuts(row, begin - starts[row], end - starts[row], len(starts)),
            "lines_cut": pa.array(counts.astype(np.int32), mask=whole),
            "bytes_cut": pa.array(_sums(end - begin, row, len(starts)), mask=whole),
        }

    def _short(self, texts: Any, cut: Any, row: Int64s) -> npt.NDArray[np.bool_]:
        """(rows,) whether too little is left: a line ends with white space, so words are whole."""
        left = [
            (least, count(*texts) - _sums(count(*cut), row, len(texts[1])))
            for least, count in ((self.min_chars, count_characters), (self.min_words, count_words))
        ]
        return np.logical_or.reduce([amount < least for least, amount in left])


def _sums(values: Int64s, row: Int64s, rows: int) -> Int64s:
    """(rows,) the sum of each row's values."""
    total = np.zeros(rows, np.int64)
    np.add.at(total, row, values)
    return total


def _cuts(row: Int64s, begin: Int64s, end: Int64s, rows: int) -> pa.Array:
    """The `cuts` column: units that follow each other are one cut."""
    joined = (row[1:] == row[:-1]) & (begin[1:] == end[:-1])
    first, last = np.append(True, ~joined)[: len(row)], np.append(~joined, True)[: len(row)]
    return deletions(row[first], begin[first], end[last], rows)
