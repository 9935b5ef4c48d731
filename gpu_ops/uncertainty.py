"""How unsure a causal language model is of a document's tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import ModelPath, Part, Recipe


class Uncertainty(Recipe):
    """Adds `entropy`, `margin` and `least_confidence`, and with `passes` also `bald` and `mean_entropy`.

    The first three are `lm_loss`'s, from the same pass: a node `lm_loss` with the same fields and this one
    run the model once. Means over the scored tokens: of the entropy of the next token's distribution (nats),
    of its largest minus its second largest probability, and of 1 - its largest. For classifiers there is
    `classifier_scores`.

    With `passes`, `bald` is the mean mutual information (nats a token) of the next token and the weights,
    over so many passes with dropout (Houlsby et al. 2011; Gal et al. 2017, arXiv 1703.02910): the entropy of
    the mean distribution, `mean_entropy`, minus the mean entropy. `dropout_passes` says where dropout acts.

    High values mean unsure, but for `margin`, where low ones do. (The survey's sentence that instances of
    lower uncertainty are more useful has the sign wrong: all papers that it cites pick the unsure ones.)

    Windows, long documents, nulls and errors are as in `lm_loss`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "max_tokens": 12},
        {"model": "configs/quickstart/stories260K", "max_tokens": 8, "passes": 2, "dropout": 0.1, "seed": 4},
    )

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Score only the first so many tokens of a document; all when not given."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass, and so the longest window."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model (see `lm_loss`)."""
    passes: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Passes with dropout, for `bald`; each costs somewhat more than the pass without."""
    dropout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The rate of dropout in these passes; by default the model's own."""
    seed: int | None = None
    """Seed of the dropout; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _dropout_has_passes(self) -> Self:
        if self.dropout is not None and self.passes is None:
            raise ValueError(f"dropout = {self.dropout} does nothing without `passes`, such as `passes: 10`")
        return self

    def parts(self) -> list[Part]:
        names = ("model", "max_tokens", "batch_tokens", "dtype")
        fields = {name: getattr(self, name) for name in names}
        shown = {name: f"/pass.{name}" for name in ("entropy", "margin", "least_confidence")}
        parts = [Part("pass", "lm_loss", fields)]
        if self.passes:
            noise = {"passes": self.passes, "dropout": self.dropout, "seed": self.seed}
            parts.append(Part("noisy", "dropout_passes", fields | noise))
            shown |= {"bald": "/noisy.bald", "mean_entropy": "/noisy.mean_entropy"}
        return [*parts, Part("shown", "renamed", {"columns_of": shown})]
