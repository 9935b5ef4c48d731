"""MinHash signatures, band keys and the hash of the shingle set of every document."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.lists import fixed
from operators.kernels.minhash import permutation_factors, sign_texts
from operators.kernels.text_buffers import text_buffers


class MinhashSignature(MapOp):
    """Signs the set of word n-grams of a text, so that the share of equal bytes in two signatures
    estimates the Jaccard index J of the sets (Broder 1997; b-bit: Li & König 2010, b = 8).

    Words are the maximal runs of `\\w` in the lower-cased text. Texts of 1 to `ngram` words have one
    shingle; texts without words have none (`shingles` is 0) and are like no other text.
    `bands`: uint64 keys, one a band; texts that share one are candidates. `set_low`, `set_high`:
    128-bit hash of the shingle set.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"ngram": 1, "numbers": "zero", "permutations": 64, "bands": 8, "rows": 8},
    )

    column: str = "text"
    """The text column."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle."""
    numbers: Literal["keep", "zero"] = "keep"
    """`zero`: runs of digits read as 0, so that texts that differ only in numbers are equal."""
    permutations: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 128
    """Bytes in a signature."""
    bands: Annotated[int, Field(ge=1)] = 16
    """Bands of the signature."""
    rows: Annotated[int, Field(ge=1)] = 8
    """Minima in a band."""
    seed: int = 1
    """Chooses the permutations; fixed, so that signatures of different runs can be compared."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands * rows = {self.bands} * {self.rows} = {self.bands * self.rows} is more than "
                f"permutations = {self.permutations}: lower bands or rows, or raise permutations"
            )
        return self

    @property
    def reads(self) -> Reads:
        return {self.column: TEXT}

    @property
    def adds(self) -> Adds:
        return {
            "bands": pa.binary(8 * self.bands),
            "signature": pa.binary(self.permutations),
            "set_low": pa.uint64(),
            "set_high": pa.uint64(),
            "shingles": pa.int32(),
        }

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        bands, signature, sets, shingles = sign_texts(
            *text_buffers(batch.column(self.column)),
            ngram=self.ngram,
            zero_numbers=self.numbers == "zero",
            bands=self.bands,
            rows=self.rows,
            factors=permutation_factors(self.seed, self.permutations),
        )
        return {
            "bands": fixed(bands),
            "signature": fixed(signature),
            "set_low": pa.array(sets[:, 0]),
            "set_high": pa.array(sets[:, 1]),
            "shingles": pa.array(shingles),
        }
