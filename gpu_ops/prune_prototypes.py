"""Pruning by prototypes: rows far from the middle of their cluster are hard, rows near it easy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import Explained, Part, Recipe


class PrunePrototypes(Recipe, Explained):
    """Keeps the rows that are farthest from their prototypes (`hard`), or nearest to them (`easy`).

    Sorscher et al. (2022, arXiv 2206.14486): the difficulty of a row is the cosine distance of its embedding
    from the nearest k-means centre (`kmeans`), or with `label` from the mean direction of its class
    (`prototype_distance`).

    Which to keep depends on how much data there is: with many rows for each parameter the hard ones, with few
    the easy ones; hard rows are then worse than random ones. With a linear teacher and student
    (`workflows/pruning_regimes.py`) both hold clearly; where one turns into the other was not looked for, so
    that the run says `few` up to 3 rows a parameter and `many` from 10 on (give `parameters`). Large networks
    have less than one row a parameter, and yet ImageNet was pruned by its hard rows: the rule counts what is
    left to learn, such as a head on embeddings, not weights alone.

    Hard rows are outliers and wrong labels first: deduplicate and clean before, and never keep hard ones
    of noisy data. Pruning makes classes uneven; `group` gives each its own budget.

    The reason of what goes is "not_sampled", of rows without a distance "no_score". Memory and cost are
    `kmeans`'s.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep": "hard", "keep_share": 0.5, "clusters": 4, "seed": 1},
        {"keep": "easy", "keep_rows": 9, "label": "domain", "parameters": 12},
    )

    keep: Literal["easy", "hard"]
    """Which rows stay. There is no default: it depends on how many rows there are."""
    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str | None = None
    """A column of classes, of which each has one prototype, instead of clusters."""
    clusters: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Prototypes without `label`; by default sqrt(n) / 4 for n embeddings, at most 8,192."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Parameters of the model to be trained: the run then says which rows it should learn from."""
    keep_rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows stay; with `group` in each group."""
    keep_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of the rows that stays, rounded down; with `group` of each group."""
    group: str | None = None
    """A column of strings or integers: each of its values has a budget of its own."""
    seed: int | None = None
    """Seed of the first centres; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.keep_rows is None) == (self.keep_share is None):
            raise ValueError(f"give one of keep_rows and keep_share, not {self.keep_rows}, {self.keep_share}")
        if self.label is not None and self.clusters is not None:
            raise ValueError(f"clusters = {self.clusters} and label = {self.label!r}: prototypes are of one")
        return self

    def parts(self) -> list[Part]:
        told = {"keep": self.keep, "parameters": self.parameters}
        if self.label is None:
            near = {"column": self.embedding, "clusters": self.clusters, "seed": self.seed}
            prototypes = Part("prototypes", "kmeans", near)
            score, descending = "/prototypes.similarity", self.keep == "easy"
        else:
            far = {"embedding": self.embedding, "label": self.label}
            prototypes = Part("prototypes", "prototype_distance", far)
            score, descending = "/prototypes.distance", self.keep == "hard"
        key = {"score": score, "score_is": "rank", "descending": descending}
        budget = {"keep_rows": self.keep_rows, "keep_share": self.keep_share}
        choice = {"by": "/key.priority", "group": self.group, "reason": "not_sampled", **budget}
        return [
            Part("regime", "pruning_regime", told),
            prototypes,
            Part("key", "importance_key", key, {"regime": "regime"}),  # else nobody would run it
            Part("choice", "cut", choice),
        ]

    def explain(self) -> str:
        if self.keep == "hard":
            return "hard rows stay: right with many rows a parameter; wrong labels are among them first"
        return "easy rows stay: right with few rows a parameter"
