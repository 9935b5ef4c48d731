"""The length of each text in characters and in words."""

from __future__ import annotations

import pyarrow as pa

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.code_points import count_code_points
from operators.kernels.text_buffers import text_buffers
from operators.kernels.words import count_words


class Lengths(MapOp):
    """Adds `characters`, the code points of the text (each byte of invalid UTF-8 is one), and `words`, the
    runs of other characters than white space (`len(text.split())`); a null has 0 of both.

    The oldest measure of difficulty (Spitkovsky et al. 2010, 'From Baby Steps to Leapfrog'; Platanios et al.
    2019, https://arxiv.org/abs/1903.09848): short before long. A script without spaces has one word a line,
    so corpora of several scripts are better compared by `characters`, `size` (bytes) or `token_count`.
    The counts are integers, as float32 would round those above 16 million.

    What to expect: of 85,005 documentation texts characters and bytes sort alike (Spearman .99999),
    characters and words nearly (.978).
    """

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"characters": pa.int64(), "words": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        text = text_buffers(batch.column("text"))
        return {
            "characters": pa.array(count_code_points(*text), pa.int64()),
            "words": pa.array(count_words(*text), pa.int64()),
        }
