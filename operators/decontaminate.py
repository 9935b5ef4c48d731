"""Keeps evaluation sets out of training data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import FilePath, Part, Recipe
from operators.kernels.contamination import MOST_UNITS

Ngram = Annotated[int, Field(ge=1, le=MOST_UNITS)]
MIN_NGRAM = 8


class Decontaminate(Recipe):
    """Drops documents that hold n-grams of evaluation texts, as "contaminated", or cuts these out
    (Brown et al. 2020, 'Language Models are Few-Shot Learners', https://arxiv.org/abs/2005.14165,
    appendix C: word 13-grams, for short texts down to 8).

    Words are the maximal runs of `\\w` in the lower-cased text. An evaluation text of fewer than `ngram`
    words is looked for as a whole, one of fewer than `min_ngram` not at all. Every text of every one of
    `columns` is looked for by itself; what a row of the file has in them belongs together. An n-gram that
    more than 64 rows share counts for the first 64.

    Evidence, also for documents that stay, null where there is no overlap: `evaluation_row`, the row
    (from 0, through all files of `against`) of which the document holds the most distinct n-grams, with
    `overlap`, how many these are, `share`, their share of all that the row has, and `matched`, the longest
    passage that they make up, as it stands in the document (its first 1,000 bytes).
    """

    guard: ClassVar[float | None] = 0.95
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"against": "configs/quickstart/sample/target_python.jsonl"},
        {
            "against": "configs/quickstart/sample/target_python.jsonl",
            "columns": ["text", "domain"],
            "ngram": 2,
            "min_overlap": 2,
            "action": "cut",
            "margin": 3,
        },
        {
            "against": "configs/quickstart/sample/target_python.jsonl",
            "unit": "characters",
            "ngram": 4,
            "min_share": 0.0001,
        },
    )

    against: FilePath
    """Evaluation data: a Parquet, Arrow, JSONL or CSV file, or a glob."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("text",)
    """Its text columns, such as [question, answer]; `text` is also the config's own text column."""
    unit: Literal["words", "characters"] = "words"
    """What n-grams are made of; `characters` (white space squeezed) for scripts without spaces."""
    ngram: Ngram = 13
    """Words, or characters, in an n-gram."""
    min_ngram: Ngram | None = None
    """Words that an evaluation text must have to be looked for; 8, or `ngram` where that is less."""
    min_overlap: Annotated[int, Field(ge=1)] = 1
    """Distinct n-grams of one evaluation row, or all where it has fewer, from which a document is
    contaminated."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the n-grams of that row which it must also hold."""
    action: Literal["drop", "cut"] = "drop"
    """Drop the document, or cut from its text the passages that it has in common with such rows."""
    margin: Annotated[int, Field(ge=0)] = 0
    """Characters before and behind each passage that are cut too (Brown et al.: 200)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_ngram is not None and self.min_ngram > self.ngram:
            raise ValueError(f"min_ngram = {self.min_ngram} is more than ngram = {self.ngram}: lower it")
        if self.margin and self.action == "drop":
            raise ValueError("margin widens what is cut: use it with action: cut")
        return self

    def parts(self) -> list[Part]:
        least = min(MIN_NGRAM, self.ngram) if self.min_ngram is None else self.min_ngram
        grams = {"unit": self.unit, "ngram": self.ngram, "min_ngram": least}
        rules = {"min_overlap": self.min_overlap, "min_share": self.min_share}
        edit = {"action": self.action, "margin": self.margin}
        return [
            Part("evaluation", "evaluation_ngrams", {**grams, "texts": self.columns}, source=self.against),
            Part("contamination", "contamination", {**grams, **rules, **edit}, {"evaluation": "evaluation"}),
        ]
