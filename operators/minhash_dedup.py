"""Near duplicates: of documents whose n-grams overlap, the preferred ones stay."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from operators.contract import Explained, IndexPaths, Part, Recipe
from operators.kernels.buckets import slack
from operators.kernels.keep_order import Keep, Prefer
from operators.kernels.minhash import band_shape
from operators.kernels.overlaps import Measure, least_jaccard
from operators.kernels.shingles import Case, Numbers, Punctuation, Shingling, Unit

_NGRAM = {"words": 5, "characters": 9, "tokens": 5}
_SIZE_RATIO = 2.0
_WINDOW = 16_384  # documents that are not surely gone, in one bucket, up to which all pairs are compared
# Of one message: key, key2, tier, rank, uid and a count; key and a count; key, tier, rank and uid.
_SAME_BYTES, _BAND_BYTES, _NEAR_BYTES = 35, 9, 26


class MinhashDedup(Recipe, Explained):
    """Drops a document if and only if an earlier kept one is similar to it by `threshold` or more.

    'Earlier' is in keep order (`prefer`, `keep`, ties by position). Candidates come from MinHash bands; each
    is verified by the exact similarity of the two sets of n-grams, so nothing goes without a kept
    partner at or above the threshold. Bands miss a pair with a small probability (at 0.8 with 17 bands
    of 7 rows: 1.8 % at J = 0.8, 0.002 % at J = 0.9; `tamis plan` prints the curve), and a document with
    more than `candidates` near ones is compared with the most promising of them; if it does not surely
    go by that, then with all others that do not surely go (up to `recheck`).

    `drop` is "near_duplicate"; `kept` the uid of the kept document that is nearest, `similarity` how
    similar it is; null for documents that stay. `shingles` counts the n-grams of a document, repeats
    included: null where it has no words, which is compared with nothing and stays. Of documents that
    are the same words in the same order only the first is compared with others; the rest go for it, or
    for the one it goes for.

    With `measure: containment` a document goes that lies within an earlier kept one, so `keep: longest`
    is the order to take. Bands see signatures, not sizes: those that are chosen find documents within
    ones of up to `size_ratio` times as many n-grams; the more, the more candidates are verified.

    With `against` the documents of near-duplicate indexes come first: who is near one of them goes
    in the part `against` ("near_duplicate_of_index", `kept_id`, `kept_source`, `similarity`) and is out of
    the rest. Months that are run one after the other and added to an index keep exactly what one run
    over all keeps with `keep: first`, if no document looks near to more than `recheck` others that do not
    surely go, and no band is shared by more than 16,384 of these. A run does not meet documents of its
    own files. To take out of A what is in B, run A against an index of B.
    Methods: Broder 1997 (both measures); Leskovec et al., Mining of Massive Datasets, chapter 3.
    """

    version: ClassVar[int] = 3
    guard: ClassVar[float | None] = 0.95
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"threshold": 0.5, "ngram": 2, "keep": "longest", "clusters": True},
        {"keep": "score:max", "numbers": "zero", "bands": 16, "rows": 8, "against": ()},
        {"measure": "containment", "keep": "longest", "threshold": 0.7, "unit": "characters", "case": "keep"},
        {"prefer": {"domain": ("wiki", "код")}, "ngram": 1, "punctuation": "keep", "solve_up_to": 0},
    )

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The similarity from which two documents are near duplicates."""
    measure: Measure = "jaccard"
    """`jaccard`: shared n-grams over all n-grams of both; `containment`: shared n-grams over those of the
    document that would go."""
    size_ratio: Annotated[float, Field(ge=1)] | None = None
    """Only for `measure: containment`: the most n-grams of a kept document, in those of the one within it,
    for which bands are chosen (2 unless given)."""
    unit: Unit = "words"
    """What n-grams are made of: `words` (runs of `\\w`), `characters` (code points, each run of white
    space as one space; for scripts without spaces) or `tokens` (the integers of a list column)."""
    ngram: Annotated[int, Field(ge=1, le=64)] | None = None
    """Units in an n-gram: 5 words, 9 characters or 5 tokens unless given. A text of up to this many units
    is one n-gram."""
    numbers: Numbers = "keep"
    """`zero`: runs of digits read as 0, so that texts that differ only in numbers are equal."""
    case: Case = "fold"
    """`fold`: the text is lower-cased first."""
    punctuation: Punctuation = "drop"
    """`keep`: each character that is neither in a word nor white space is a word of its own."""
    permutations: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 128
    """Bytes in a signature."""
    bands: Annotated[int, Field(ge=1)] | None = None
    """Bands of the signature; chosen from the threshold unless given."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Minima in a band; given if and only if `bands` is."""
    keep: Keep = "first"
    """Whom to keep: `first`, `longest` (most bytes), `column:max` or `column:min` of a number, a date or
    an ISO 8601 string, as in `date:min` for the oldest (nulls and NaN last); ties go to the first."""
    prefer: Prefer = Field(default={})
    """Decides before `keep`: a string column -> its values, the best first, as in `{domain: [wiki,
    books]}`; all other values come last. With several columns the first decides, then the next."""
    seed: int = 1
    """Chooses the permutations. It is not the run's seed: signatures stay comparable between runs."""
    clusters: bool = False
    """Add `cluster`: the least uid of the connected component; it decides nothing."""
    candidates: Annotated[int, Field(ge=1)] = 32
    """Earlier documents at most that one document is verified against at first."""
    recheck: Annotated[int, Field(ge=1)] = 1024
    """Earlier documents at most that are not surely gone, against which one that had more than `candidates`
    near ones is verified before it stays."""
    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are solved at once instead of in further rounds."""
    column: str = "text"
    """The text column; for `unit: tokens` a column of lists of integers."""
    against: IndexPaths = None
    """Folders of near-duplicate indexes (see `tamis index`), whose documents come before all others. Every
    indexed document that shares a band and looks near is verified, however many there are."""
    side: Literal["new", "indexed"] = "new"
    """Which of two near duplicates goes, the new or the indexed one: `indexed` keeps the new document and
    lists the others in `supersedes`; `tamis index add` takes these out of the index."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            raise ValueError(f"bands = {self.bands} and rows = {self.rows}: give both or neither")
        if self.bands and self.rows and self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands * rows = {self.bands * self.rows} is more than permutations = {self.permutations}"
            )
        if self.size_ratio is not None and self.measure != "containment":
            raise ValueError(f"size_ratio = {self.size_ratio} is for measure: containment; leave it out")
        if self.unit == "tokens" and self.keep == "longest":
            raise ValueError("keep: longest counts the bytes of a text; with unit: tokens name a column")
        Shingling(**self.shingling())
        return self

    def parts(self) -> list[Part]:
        clusters = [Part("clusters", "near_clusters")] if self.clusters else []
        decision = {"solve_up_to": self.solve_up_to, "clusters": self.clusters}
        decided = Part("decision", "near_decision", decision)
        return [*verified_pairs(self), *clusters, *verified_again(self), decided]

    def explain(self) -> str:
        (bands, rows), least = self.shape(), self.least()
        points = np.unique([*np.arange(5, 11) / 10, self.threshold])
        jaccard = least_jaccard(points, self.measure, self._ratio())
        found = 100 * (1 - (1 - jaccard**rows) ** bands)
        missed = 100 - found[np.searchsorted(points, self.threshold)]
        within = f" (in {self._ratio():g} times as much)" if self.measure == "containment" else ""
        wide = max(len(self.measure + within), len("found, %"))
        lines = [
            f"{bands} bands of {rows} rows: {bands * rows} of {self.permutations} permutations",
            f"{self.measure + within:<{wide}}  " + "  ".join(f"{point:5.3g}" for point in points),
            f"{'found, %':<{wide}}  " + "  ".join(f"{share:5.1f}" for share in found),
            f"expected misses at {self.threshold:g}: {missed:.1f} % of the pairs of documents that have no "
            "other copy",
            f"candidates need an estimated Jaccard index of {least - slack(least, self.permutations):.3f}: "
            f"{least:.3f} less three standard deviations, so 0.1 % of the pairs there are lost",
            f"shuffled for candidates, bytes a document: {_SAME_BYTES} to find equal texts, "
            f"{bands} x {_BAND_BYTES} for bands, {_NEAR_BYTES + self.permutations} for each band that "
            "another document shares",
            "shuffled for verification, bytes a document: 8 x its n-grams, once where it is a candidate, "
            f"and once for each of its own candidates (at most {self.candidates}; where there are more, "
            f"also for those that do not surely go, at most {self.recheck})",
        ]
        return "\n".join(lines)

    def shape(self) -> tuple[int, int]:
        """(bands, rows) of the signature."""
        if self.bands and self.rows:
            return self.bands, self.rows
        return band_shape(self.least(), self.permutations)

    def least(self) -> float:
        """The least Jaccard index of a pair that is to be found."""
        return float(least_jaccard(self.threshold, self.measure, self._ratio()))

    def shingling(self) -> dict[str, Any]:
        """The fields of a Shingling."""
        ngram = self.ngram or _NGRAM[self.unit]
        names = ("numbers", "case", "punctuation")
        return {"unit": self.unit, "ngram": ngram, **{name: getattr(self, name) for name in names}}

    def text(self) -> dict[str, Any]:
        """Where shingles come from, and how."""
        return {"column": self.column, **self.shingling()}

    def nearness(self) -> dict[str, Any]:
        """When two signatures look near."""
        return {"threshold": self.least(), "permutations": self.permutations}

    def _ratio(self) -> float:
        return self.size_ratio or _SIZE_RATIO


def verified_pairs(config: MinhashDedup) -> list[Part]:
    """The parts up to `verify`: for each document the earlier ones that it is similar enough to."""
    bands, rows = config.shape()
    text = config.text()
    signed = {"permutations": config.permutations, "bands": bands, "rows": rows, "seed": config.seed}
    near = {**config.nearness(), "most": config.candidates}
    order = {"keep": config.keep, "prefer": config.prefer, "column": config.column}
    return [
        Part("rank", "keep_rank", order),
        Part("signature", "minhash_signature", {**text, **signed}),
        *against_indexes(config, text),
        Part("same", "same_shingles"),
        Part("shared", "shared_bands"),
        Part("near", "near_candidates", near),
        Part("followed", "near_followed"),
        Part("verify", "near_verify", {**text, "threshold": config.threshold, "measure": config.measure}),
    ]


def verified_again(config: MinhashDedup) -> list[Part]:
    """The parts from `sure` to `reverify`: documents whose candidates were cut, and who do not surely go
    anyway, are compared with all that do not surely go. With that no pair that matters is left out."""
    again = {**config.nearness(), "most": config.recheck, "window": _WINDOW, "again": True}
    verify = {**config.text(), "threshold": config.threshold, "measure": config.measure}
    return [
        Part("sure", "near_sure", {"solve_up_to": config.solve_up_to}),
        Part("asked", "asked_bands"),
        Part("again", "near_candidates", again),
        Part("heard", "near_followed", {"again": True}),
        Part("reverify", "near_reverify", verify),
    ]


def against_indexes(config: MinhashDedup, text: dict[str, Any]) -> list[Part]:
    """The parts that compare documents with indexes, where that is asked for."""
    if config.against is None:
        return []
    verify = {"threshold": config.threshold, "measure": config.measure, "side": config.side, **text}
    return [
        Part("lookup", "near_lookup", {"against": config.against, **config.nearness()}),
        Part("against", "near_against", {"against": config.against, **verify}),
    ]
