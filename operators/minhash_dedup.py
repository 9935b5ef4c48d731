"""Near duplicates: of documents whose word n-grams overlap, the preferred ones stay."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import Part, Recipe
from operators.kernels.keep_order import KEEP_PATTERN
from operators.kernels.minhash import band_shape


class MinhashDedup(Recipe):
    """Drops a document if and only if an earlier kept one has a Jaccard index >= `threshold`.

    'Earlier' is in keep order (`keep`, ties by position). Candidates come from MinHash bands; each is
    verified by the exact Jaccard index of the two sets of word n-grams, so nothing goes without a
    kept partner at or above the threshold. Bands miss a pair with a small probability (at 0.8 with
    17 bands of 7 rows: 1.8 % at J = 0.8, 0.002 % at J = 0.9), and a document with more than `candidates`
    near ones is compared with the most promising of them. Texts without words are left alone.

    `drop` is "near_duplicate"; `kept` the uid of the kept document that is nearest, `similarity` their
    Jaccard index; null for documents that stay. Of documents with one and the same shingle set only
    the first is compared with others; the rest go for it, or for the one it goes for. Method:
    Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"threshold": 0.5, "ngram": 2, "keep": "longest", "clusters": True},
        {"keep": "score:max", "numbers": "zero", "bands": 16, "rows": 8},
    )

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The Jaccard index from which two documents are near duplicates."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle; a text of up to this many words is one shingle."""
    permutations: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 128
    """Bytes in a signature."""
    bands: Annotated[int, Field(ge=1)] | None = None
    """Bands of the signature; chosen from the threshold unless given."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Minima in a band; given if and only if `bands` is."""
    keep: Annotated[str, Field(pattern=KEEP_PATTERN)] = "first"
    """Whom to prefer: `first`, `longest` (most bytes), `column:max` or `column:min` of a number
    (nulls and NaN last); ties go to the first."""
    numbers: Literal["keep", "zero"] = "keep"
    """`zero`: runs of digits read as 0, so that texts that differ only in numbers are equal."""
    seed: int = 1
    """Chooses the permutations. It is not the run's seed: signatures stay comparable between runs."""
    clusters: bool = False
    """Add `cluster`: the least uid of the connected component; it decides nothing."""
    candidates: Annotated[int, Field(ge=1)] = 32
    """Earlier documents at most that one document is verified against."""
    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are solved at once instead of in further rounds."""
    column: str = "text"
    """The text column."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            raise ValueError(f"bands = {self.bands} and rows = {self.rows}: give both or neither")
        if self.bands and self.rows and self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands * rows = {self.bands * self.rows} is more than permutations = {self.permutations}"
            )
        return self

    def parts(self) -> list[Part]:
        clusters = [Part("clusters", "near_clusters")] if self.clusters else []
        return [
            *verified_pairs(self),
            Part("greedy", "greedy_keep", {"solve_up_to": self.solve_up_to}),
            Part("partner", "kept_partner"),
            *clusters,
            Part("decision", "near_decision", {"clusters": self.clusters}),
        ]


def verified_pairs(config: MinhashDedup) -> list[Part]:
    """The parts up to `verify`: for each document the earlier ones with J >= threshold."""
    if config.bands and config.rows:
        bands, rows = config.bands, config.rows
    else:
        bands, rows = band_shape(config.threshold, config.permutations)
    text = {"column": config.column, "ngram": config.ngram, "numbers": config.numbers}
    signed = {"permutations": config.permutations, "bands": bands, "rows": rows, "seed": config.seed}
    near = {"threshold": config.threshold, "permutations": config.permutations, "most": config.candidates}
    return [
        Part("rank", "keep_rank", {"keep": config.keep, "column": config.column}),
        Part("signature", "minhash_signature", {**text, **signed}),
        Part("same", "same_shingles"),
        Part("shared", "shared_bands"),
        Part("near", "near_candidates", near),
        Part("followed", "near_followed"),
        Part("verify", "near_verify", {**text, "threshold": config.threshold}),
    ]
