"""An operator of one's own: a file with one class, named in a config by its path (own_operator.yaml)."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.text_buffers import text_buffers


class ShoutFilter(MapOp):
    """Drops texts that shout: too many of their letters A to Z are capitals. Adds the share `capitals`."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"max_share": 0.0, "min_letters": 1})

    max_share: float = Field(0.5, ge=0, le=1)
    """The largest share of capitals that stays."""
    min_letters: int = Field(20, ge=1)
    """A text with fewer letters is too short to shout."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "capitals": pa.float64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        data, starts, ends = text_buffers(batch.column("text"))  # all texts' bytes, nothing is copied
        first = starts[0] if len(starts) else 0
        letters = data[first : ends.max(initial=first)]
        upper = np.cumsum(np.append(0, (letters >= ord("A")) & (letters <= ord("Z"))))
        either = np.cumsum(np.append(0, (letters | 32 >= ord("a")) & (letters | 32 <= ord("z"))))
        capitals, known = (count[ends - first] - count[starts - first] for count in (upper, either))
        share = capitals / np.maximum(known, 1)
        shouts = (known >= self.min_letters) & (share > self.max_share)
        return {"drop": drop_column(np.where(shouts, 0, -1), ["shouting"]), "capitals": pa.array(share)}
