"""How far apart two texts of a row are: edits that turn one into the other."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses


class EditDistance(MapOp):
    """Adds `distance` (int32), the fewest insertions, deletions and replacements of one character that turn
    `left` into `right` (Levenshtein 1966), and `normalised` (float32), that by the characters of the longer
    one: 0 for equal texts, 1 where nothing can stay. Both are null where either text is.

    As a difficulty of pairs, near ones first: Kadotani et al. 2021 ('Edit Distance Based Curriculum Learning
    for Paraphrase Generation', https://aclanthology.org/2021.acl-srw.24). `distance` grows with the length of
    the texts; sort by `normalised` if that is not what you want. It compares characters, so between
    two languages it tells little but how long they are.

    Characters are code points; bytes that are no UTF-8 are read as U+FFFD. Texts are compared by rapidfuzz
    (bit-parallel: Hyyrö 2003), which needs the extra `difficulty`: a time of the product of both lengths, so
    only the first `max_characters` of each are read.

    What to expect: 345,000 pairs a CPU-second of Bible verses of 147 characters (980 times the textbook's
    table in Python), 1.5 million of sentences of 18 (47 times). Of 10,000 pairs each, `distance` ranks as the
    longer text's length with a Spearman of .64 (verses in two English renderings), .82 and .97 (English and
    German), `normalised` with -.02, .17 and .00. Whether the order helps training was not measured here.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"left": "text", "right": "domain", "max_characters": 300},
        {"left": "id", "right": "id"},
    )

    left: str
    """A column of strings."""

    right: str
    """The column of strings that it is compared with."""

    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """How much of each text is read."""

    @model_validator(mode="after")
    def _can_run(self) -> EditDistance:
        if find_spec("rapidfuzz") is None:
            raise ValueError(
                "edit_distance needs the package 'rapidfuzz', which is not installed; "
                "pip install 'tamis[difficulty]'"
            )
        return self

    @property
    def reads(self) -> Reads:
        return dict.fromkeys((self.left, self.right), Kind.STRING)

    @property
    def adds(self) -> Adds:
        return {"distance": pa.int32(), "normalised": pa.float32()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cpdist

        left, right = (self._texts(batch.column(name)) for name in (self.left, self.right))
        unknown = np.array([a is None or b is None for a, b in zip(left, right, strict=True)], bool)
        pairs = [text or "" for text in left], [text or "" for text in right]
        longest = np.array([max(len(a), len(b)) for a, b in zip(*pairs, strict=True)], np.int64)
        distance = np.zeros(len(left), np.int32)
        if len(left):
            distance = cpdist(*pairs, scorer=Levenshtein.distance, dtype=np.int32, workers=1)
        normalised = (distance / np.maximum(longest, 1)).astype(np.float32)
        return {
            "distance": pa.array(distance, pa.int32(), mask=unknown),
            "normalised": pa.array(normalised, pa.float32(), mask=unknown),
        }

    def _texts(self, column: pa.Array) -> list[str | None]:
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if t is None else t.decode("utf-8", "replace")[: self.max_characters] for t in raw]
