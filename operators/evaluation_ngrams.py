"""The n-grams of an evaluation set, as a table to look them up in."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.contamination import MOST_UNITS, Grams, list_grams, make_table
from operators.kernels.text_buffers import text_buffers

MOST_ROWS = 64  # for which one n-gram counts
MOST_NGRAMS = 100_000_000
_BYTES = 8 + 8 + 2 + 8  # of an n-gram in a row


class EvaluationNgrams(FoldOp):
    """Collects the distinct n-grams of every row, each with the first 64 rows that have it.

    A part of `decontaminate`. The artifact: `cells`, `slots`, `filter`, `lengths` (see
    `kernels.contamination.Table`); the rows of n-gram i, ascending, are rows[offsets[i]:offsets[i + 1]];
    `totals` counts the n-grams of each row.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"texts": ("text", "domain"), "ngram": 3, "min_ngram": 1},
        {"unit": "characters", "ngram": 5, "min_ngram": 5},
    )

    texts: Annotated[tuple[str, ...], Field(min_length=1)] = ("text",)
    """The text columns."""
    unit: Literal["words", "characters"] = "words"
    """What n-grams are made of."""
    ngram: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 13
    """Units in an n-gram."""
    min_ngram: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 8
    """Units of the shortest text that is one n-gram."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), **dict.fromkeys(self.texts, TEXT)}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return _BYTES * MOST_NGRAMS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        grams = Grams(self.unit == "characters", self.ngram, self.min_ngram)
        uid = np.asarray(batch.column("uid"))
        state = _state(*(np.zeros(0, kind) for kind in _KINDS.values()))
        for name in self.texts:
            row, hashes, suffixes, lengths = list_grams(text_buffers(batch.column(name)), grams)
            state = self.merge(state, _state(hashes, suffixes, lengths.astype(np.uint16), uid[row]))
        return state

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        both = {name: np.concatenate([a[name], b[name]]) for name in _KINDS}
        order = np.lexsort([both["row"], both["hash"]])
        both = {name: values[order] for name, values in both.items()}
        same = both["hash"][1:] == both["hash"][:-1]
        once = np.append(True, ~(same & (both["row"][1:] == both["row"][:-1])))[: len(order)]
        both = {name: values[once] for name, values in both.items()}
        starts = _starts(both["hash"])
        rank = np.arange(len(both["hash"])) - np.repeat(starts[:-1], np.diff(starts))
        kept = {name: values[rank < MOST_ROWS] for name, values in both.items()}
        if len(kept["hash"]) > MOST_NGRAMS:
            raise ValueError(
                f"the evaluation texts have more than {MOST_NGRAMS:,} n-grams; use several nodes, each "
                f"with some of the files"
            )
        return kept

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        starts = _starts(state["hash"])
        first = starts[:-1]
        lengths = state["length"][first].astype(np.int64)
        table = make_table(state["hash"][first], state["suffix"][first], lengths)
        return {
            **table._asdict(),
            "offsets": starts,
            "rows": state["row"],
            "totals": np.bincount(state["row"], minlength=1).astype(np.int64),
        }

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}


_KINDS = {"hash": np.uint64, "suffix": np.uint64, "length": np.uint16, "row": np.int64}


def _state(*columns: npt.NDArray[Any]) -> Artifact:
    return dict(zip(_KINDS, columns, strict=True))


def _starts(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Where each run of equal hashes begins, and the end."""
    new = np.flatnonzero(hashes[1:] != hashes[:-1]) + 1
    return np.concatenate([[0][: len(hashes)], new, [len(hashes)]]).astype(np.int64)
