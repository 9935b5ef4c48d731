"""ALPS: texts that surprise a language model in different places."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from operators.contract import ModelPath, Part, Recipe


class Alps(Recipe):
    """Clusters documents by where they surprise a language model, and chooses the one nearest to each centre.

    Active learning by processing surprisal (Yuan et al. 2020, arXiv 2010.09535), for the start, when there is
    no label yet: vectors of the model's losses at random positions, of length 1 (`surprisal`), then k-means
    with k = the budget (`kmeans_sample`). Columns, budget and reasons are those of `kmeans_sample`.

    What to expect: nothing, unless the model is good. On losses of a bigram model it was worse than random
    rows: TREC, 100 rows, .574 against .604. Positions are counted from the start of the text, so that it
    means something for short texts alone. `kmeans_sample` on embeddings is what to use first.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "max_tokens": 16, "keep_rows": 5, "seed": 1},
        {"model": "configs/quickstart/stories260K", "max_tokens": 9, "share": 0.5, "keep_share": 0.2}
        | {"labelled": "domain", "mark": True, "seed": 3},
    )

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 128
    """The first so many tokens of a document are looked at."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Of its tokens, those whose loss enters."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model (see `lm_loss`)."""
    keep_rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows to choose; all, where there are fewer."""
    keep_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of the rows not chosen before that is chosen, rounded down."""
    labelled: str | None = None
    """The column that says which rows were chosen before (see `kmeans_sample`); they stay."""
    group: str | None = None
    """A column whose values are pools of their own (see `kmeans_sample`)."""
    mark: bool = False
    """Only adds `rank` and `weight`; no row is dropped."""
    seed: int | None = None
    """Seed of the positions and of k-means; the plan derives one from the run's seed and the node's name."""

    def parts(self) -> list[Part]:
        own = ("model", "max_tokens", "share", "batch_tokens", "dtype", "seed")
        budget = ("keep_rows", "keep_share", "labelled", "group", "mark", "seed")
        picked = {name: getattr(self, name) for name in budget}
        return [
            Part("vectors", "surprisal", {name: getattr(self, name) for name in own}),
            Part("pick", "kmeans_sample", {"embedding": "/vectors.surprisal", **picked}),
        ]
