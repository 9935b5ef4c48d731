"""AcTune: label the uncertain rows of uncertain regions, train on the sure ones as they are predicted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from operators.contract import Part, Recipe


class Actune(Recipe):
    """Chooses rows to label in the regions where a model is unsure, and rows to trust its predictions of.

    AcTune (Yu et al. 2022, arXiv 2112.08787, section 3): k-means, to whose centres rows pull by their
    uncertainty, makes `regions`; the value of a region is its mean uncertainty + `beta` * the entropy of the
    predictions in it; the regions take turns, the one of the highest value first, with their
    `rows_per_region` most uncertain rows, until the budget is spent. `pseudo_rows` are then the least
    uncertain of all others, to train on with their predicted label (self-training, as in the authors' code).

    Adds `rank`, for the rows to label; `pseudo`, the predicted label of the rows to trust, null for others;
    and `drop`: rows to label, to trust, and labelled before stay. The paper smooths predictions over rounds
    (momentum): average the uncertainty with that of the round before, and give that column. Unlike their code
    shares of predictions, not of the most frequent one, make the entropy, and no region is limited to a
    twentieth of its rows.

    What to expect: the model's mistakes that it is sure of are learnt as truth; look at the share of wrong
    ones on labelled rows first. The choice alone is close to `weighted_kmeans`, which has no region to set.
    200 rows in two rounds after 100 gained less than that (20 seeds, MiniLM embeddings, minus random rows):
    subjectivity +.004 +- .002; with banking77's 77 classes it lost .059 +- .006. Needs `classifier_head` or
    `classifier_scores` before; a start without labels is `kmeans_sample`'s. One job; cost and memory of
    k-means as in `kmeans_sample`, k = regions.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_rows": 6, "score": "words", "predicted": "domain", "regions": 4, "rows_per_region": 2}
        | {"pseudo_rows": 5, "seed": 1},
        {"keep_share": 0.3, "score": "words", "predicted": "domain", "labelled": "label", "mark": True}
        | {"regions": 3, "beta": 0, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    score: str = "entropy"
    """How uncertain a row is: entropy or least_confidence; at least 0."""
    predicted: str = "predicted"
    """The string column of predicted labels."""
    regions: Annotated[int, Field(ge=1)] = 25
    """Clusters, at most."""
    rows_per_region: Annotated[int, Field(ge=1)] = 10
    """Rows taken of a region before the next one has its turn."""
    beta: Annotated[float, Field(ge=0)] = 0.5
    """What the mix of predictions in a region counts beside its mean uncertainty."""
    pseudo_rows: Annotated[int, Field(ge=0)] = 0
    """How many of the least uncertain rows are trusted; none by default."""
    keep_rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows to label; all, where there are fewer."""
    keep_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of the rows not labelled before that is to be labelled, rounded down."""
    labelled: str | None = None
    """The column that says which rows were labelled before (see `kmeans_sample`); they stay."""
    mark: bool = False
    """Only adds `rank` and `pseudo`; no row is dropped."""
    seed: int | None = None
    """Seed of k-means; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.keep_rows is None) == (self.keep_share is None):
            raise ValueError(f"give one of keep_rows and keep_share, not {self.keep_rows}, {self.keep_share}")
        return self

    def parts(self) -> list[Part]:
        names = ["embedding", "score", "predicted", "regions", "rows_per_region", "beta", "pseudo_rows"]
        names += ["keep_rows", "keep_share", "labelled", "seed"]
        fields = {name: getattr(self, name) for name in names}
        face = {"predicted": self.predicted, "mark": self.mark}
        return [
            Part("regions", "actune_regions", {**fields, "mark": True}),
            Part("choice", "actune_choice", face, uses={"regions": "regions"}),
        ]
