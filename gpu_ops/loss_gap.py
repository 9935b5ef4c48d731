"""How much worse a learner does on a document than a reference model: what there is left to learn of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from operators.contract import ModelPath, Part, Recipe


class LossGap(Recipe):
    """Adds `gap` = `learner` - `reference`, the loss of one model minus that of another, in nats per byte.

    With a reference that was trained on held-out data this is RHO-LOSS (Mindermann et al. 2022, arXiv
    2206.07137): high for what can be learnt and is not yet; low for what is known, and for noise, on
    which the reference does badly too. With a copy of the learner from some steps before as the reference it
    is minus the progress, ReLo's priority (Sujit et al. 2023) where it is above 0. Selecting by high
    loss alone takes noise first; a gap with a held-out reference does not. Of a model and
    itself all gaps are 0: where there is no reference, `percentile_band` on `lm_loss`, or `loss_importance`
    with `cap`, keep off the highest losses; they cannot tell noise from what is merely hard.

    Per byte, so that the models may have different tokenizers; then `max_tokens` tokens of one are another
    stretch of the text than as many of the other, and the gap mixes the two: leave it out, or cut the texts.
    Both losses are `lm_loss`'s: a node of that name with the same model and fields shares the pass. Null
    where either loss is.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "reference": "configs/quickstart/stories260K"}
        | {"max_tokens": 12},
    )

    model: ModelPath
    """The learner: folder of a Hugging Face causal language model, or its hub name."""
    reference: ModelPath
    """The model that it is compared with."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Score only the first so many tokens of a document (of either tokenizer); all when not given."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass, and so the longest window."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the models (see `lm_loss`)."""

    def parts(self) -> list[Part]:
        how = {name: getattr(self, name) for name in ("max_tokens", "batch_tokens", "dtype")}
        return [
            Part("learner", "lm_loss", {"model": self.model, **how}),
            Part("reference", "lm_loss", {"model": self.reference, **how}),
            Part("gap", "loss_difference", {}),
        ]
