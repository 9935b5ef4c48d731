"""How a training run chooses among the rows that it reads; importing this needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators.kernels.noise import HARM

Share = Annotated[float, Field(ge=0, le=1)]
Some = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Percentile = Annotated[float, Field(gt=0, lt=100)]


class Selection(BaseModel):
    """What every selection inside the loop has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    placebo: bool = False
    """Deals every score to another row: the control that shows what the method itself does."""


class _Seeking(Selection):
    """A selection that seeks rows on which the model does badly, and so wrong labels: it is guarded."""

    cap: Percentile | None = None
    """The percentile of the losses above which a row is never taken: 90 leaves out the tenth with the
    highest."""
    noise: Literal["accepted"] | None = None
    """`accepted`: select without `cap` or a held-out reference, because the data has no wrong labels."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.cap is None and self.noise is None and not getattr(self, "reference", None):
            also = ", `reference` (a held-out model)" if "reference" in type(self).model_fields else ""
            raise ValueError(
                f"{HARM}. Give `cap: 90` (the percentile above which nothing is taken){also}, or `noise: "
                "accepted`"
            )
        return self


class GradientBoundConfig(_Seeking):
    """Importance sampling by the bound of the gradient (Katharopoulos & Fleuret 2018)."""

    kind: Literal["gradient_bound"]
    candidates: Annotated[int, Field(ge=2)] = 3
    """Rows that are presampled for one that is trained on: B / b."""
    min_tau: Annotated[float, Field(ge=1)] | None = None
    """Off below this; (B + 3 b) / (3 b) when not given: from there it pays, a backward pass costing two
    forward passes."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the average of tau over steps."""


class BiasedLossConfig(_Seeking):
    """Sampling by the loss with weights that leave a bias (Katharopoulos & Fleuret 2017)."""

    kind: Literal["biased_loss"]
    candidates: Annotated[int, Field(ge=2)] = 3
    """Rows that are presampled for one that is trained on."""
    exponent: Share = 0.5
    """The k of the weights: 1 is unbiased, 0 makes all weights equal."""
    smoothing: Annotated[float, Field(ge=0)] = 0.0
    """The c that is added to every loss, in nats, so that rows that the model knows keep a chance."""
    losses: Literal["fresh", "history"] = "fresh"
    """`fresh`: of a forward pass over all presampled rows; `history`: the last that each row had."""


class SelectiveBackpropConfig(_Seeking):
    """Backward passes for the rows with large losses (Jiang et al. 2019)."""

    kind: Literal["selective_backprop"]
    beta: Annotated[float, Field(gt=0)] = 1.0
    """The power of the percentile: 1 keeps a half of the rows, 2 a third."""
    ring: Count = 1024
    """So many last losses are what a loss is compared with."""
    reuse: Count = 1
    """How many visits of a row its loss serves for; above 1 is Stale-SB."""


class AutoAssistConfig(Selection):
    """An assistant that learns which rows are trivial (Zhang et al. 2019)."""

    kind: Literal["auto_assist"]
    gamma: Some = 0.3
    """The least probability with which a row stays."""
    ngrams: tuple[Count, ...] = (1, 2)
    """Which n, of token ids."""
    buckets: Annotated[int, Field(ge=2, le=2**24)] = 2**16
    """Hash buckets of the n-grams: the number of coefficients."""
    rate: Annotated[float, Field(gt=0)] = 0.5
    """Adagrad's learning rate."""
    ring: Count = 1024
    """So many last losses give the mean and the deviation."""
    warm: Annotated[int, Field(ge=0)] = 512
    """Rows that are learned from before any goes."""
    weigh: bool = False
    """Whether rows weigh 1 / (the probability with which they stayed)."""


class SelfPacedConfig(Selection):
    """Easy rows first (Kumar et al. 2010)."""

    kind: Literal["self_paced"]
    start: Some = 0.5
    """Share of the rows that is learned from at first."""
    cap: Some
    """Share that is learned from in the end; 0.7 where many labels may be wrong, 1 where none is. Choose it
    by a held-out loss."""
    grow: Share = 0.5
    """Share of the steps over which it grows."""
    warmup: Share = 0.2
    """Share of the steps before, in which all rows are learned from: an untrained model's losses say
    nothing."""
    power: Annotated[float, Field(ge=1)] = 1.0
    """Of the pace: the share to this power grows linearly."""
    weights: Literal["hard", "linear", "logarithmic", "mixture"] = "hard"
    """Of the rows below lambda: hard is 1 for all."""
    losses: Literal["candidates", "own"] = "candidates"
    """`candidates`: of a forward pass over all rows that are read; `own`: of the step's own, whose rows are
    weighed by them."""
    ring: Count = 1024
    """So many last losses give lambda."""
    by_class: bool = False
    """Whether each class of a classification has a lambda of its own, so that none is left out."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.by_class and self.losses == "own":
            raise ValueError("by_class needs `losses: candidates`")
        if self.start > self.cap:
            raise ValueError(f"start {self.start} is above cap {self.cap}; the share only grows")
        return self


class ReducibleLossConfig(_Seeking):
    """By the gap to a reference model (RHO-LOSS, Mindermann et al. 2022; ReLo, Sujit et al. 2022)."""

    kind: Literal["reducible_loss"]
    reference: str | None = None
    """Folder of a model of the same vocabulary or classes, trained on held-out, clean data."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """In its place the average of this model's weights, which keeps this share of itself in every step. It
    does not resist wrong labels."""
    candidates: Annotated[int, Field(ge=2)] = 10
    """Rows that are looked at for one that is trained on."""
    choice: Literal["top", "proportional"] = "top"
    """The largest gaps, or at random in proportion to them."""
    alpha: Annotated[float, Field(ge=0)] = 0.6
    """Proportional: the power of the gap."""
    beta: Share = 0.4
    """Proportional: the power of the weights in the first step; it grows to 1."""

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if (self.reference is None) == (self.ema is None):
            raise ValueError("give either `reference` (a folder) or `ema` (such as 0.99)")
        return self


class BackwardMaskConfig(Selection):
    """A loss of some of the targets only."""

    kind: Literal["backward_mask"]
    keep: Some
    """Share of the targets that is learned from."""
    rule: Literal["random", "lowest", "highest", "band", "excess"] = "random"
    """Which: by luck, by their loss, or by its excess over the reference model's (Rho-1)."""
    low: Share = 0.0
    """Band: the share of the targets, with lower losses, that lies below it."""
    unit: Literal["tokens", "rows"] = "tokens"
    """Whether targets go one by one, or all those of a row by its mean."""
    reference: str | None = None
    """Excess: folder of a model of the same vocabulary or classes."""
    noise: Literal["accepted"] | None = None
    """`accepted`: keep those with the highest losses, because the data has no wrong labels."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rule == "highest" and self.noise is None:
            raise ValueError(f"{HARM}. Take another rule (such as band), or give `noise: accepted`")
        if (self.rule == "excess") != (self.reference is not None):
            raise ValueError("`reference` goes with the rule `excess`, and that with it")
        if self.rule == "band" and self.low + self.keep > 1 + 1e-9:
            raise ValueError(f"a band from {self.low} of {self.keep} ends above 1")
        return self


SelectConfig = Annotated[
    GradientBoundConfig
    | BiasedLossConfig
    | SelectiveBackpropConfig
    | AutoAssistConfig
    | SelfPacedConfig
    | ReducibleLossConfig
    | BackwardMaskConfig,
    Field(discriminator="kind"),
]


def candidates(select: SelectConfig | None) -> int:
    """Rows that are read at a time for one that is trained on."""
    return int(getattr(select, "candidates", 1))


def reference_folder(select: SelectConfig | None) -> str | None:
    """The reference model's folder, where there is one."""
    found: str | None = getattr(select, "reference", None)
    return found
