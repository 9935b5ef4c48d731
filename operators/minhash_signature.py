"""MinHash signatures, band keys and the hash of the normalised text of every document."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import TEXT, Adds, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.lists import fixed
from operators.kernels.minhash import permutation_factors, sign
from operators.kernels.shingles import Case, Numbers, Punctuation, Shingling, Unit


class MinhashSignature(MapOp):
    """Signs the set of n-grams of a text, so that the share of equal bytes in two signatures
    estimates the Jaccard index J of the sets (Broder 1997; b-bit: Li & König 2010, b = 8).

    Texts of 1 to `ngram` units have one n-gram; texts without units have none (`shingles` is 0) and
    are like no other text.
    `bands`: uint64 keys, one a band; texts that share one are candidates. `same_low`, `same_high`:
    128-bit hash of the sequence of units: equal ones have equal n-grams. `shingles`: the number of
    n-grams, repeats included.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"ngram": 1, "numbers": "zero", "permutations": 64, "bands": 8, "rows": 8},
        {"unit": "characters", "ngram": 3, "case": "keep", "permutations": 64, "bands": 8, "rows": 8},
    )
    version: ClassVar[int] = 2

    column: str = "text"
    """The text column; for `unit: tokens` a column of lists of integers."""
    unit: Unit = "words"
    """What n-grams are made of: `words` (the maximal runs of `\\w`), `characters` (code points, each run
    of white space as one space; for scripts without spaces) or `tokens` (the integers of a list)."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Units in an n-gram."""
    numbers: Numbers = "keep"
    """`zero`: runs of digits read as 0, so that texts that differ only in numbers are equal."""
    case: Case = "fold"
    """`fold`: the text is lower-cased first."""
    punctuation: Punctuation = "drop"
    """`keep`: each character that is neither in a word nor white space is a word of its own."""
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
        self.shingling()
        return self

    def shingling(self) -> Shingling:
        return Shingling(self.unit, self.ngram, self.numbers, self.case, self.punctuation)

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.INTEGERS if self.unit == "tokens" else TEXT}

    @property
    def adds(self) -> Adds:
        return {
            "bands": pa.binary(8 * self.bands),
            "signature": pa.binary(self.permutations),
            "same_low": pa.uint64(),
            "same_high": pa.uint64(),
            "shingles": pa.int32(),
        }

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        bands, signature, same, shingles = sign(
            batch.column(self.column),
            self.shingling(),
            bands=self.bands,
            rows=self.rows,
            factors=permutation_factors(self.seed, self.permutations),
        )
        return {
            "bands": fixed(bands),
            "signature": fixed(signature),
            "same_low": pa.array(same[:, 0]),
            "same_high": pa.array(same[:, 1]),
            "shingles": pa.array(shingles),
        }
