"""grad_norm: how long the gradient of a document's loss is, exactly, by the last layer or the whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.causal_lm import CausalLm


class GradNorm(ScoreOp):
    """Adds `grad_norm`, the length of the gradient of a document's `loss` (mean nats per token) by weights.

    - `kind: last_layer`: by the output layer's weight, from a forward pass alone; exact, with the products
      between tokens. Where that weight is the input embedding too, the embedding's share is left out.
    - `kind: full`: by all parameters, or those that `parameters` names, from a forward and a backward pass
      of a batch (ghost norms: Li et al. 2022, arXiv 2110.05679), at about the cost and memory of training.
    - An upper bound of `last_layer` at no cost beside the loss is `lm_loss`'s column `grad_bound` (for a head
      that multiplies its logits by a number above 1, times that number).

    Also adds `loss` and `scored_tokens`, of the tokens that the gradient is of. Norm and loss are null where
    there are none: empty and null texts. A document longer than the model's context (or than `batch_tokens`,
    where that is less) is judged by its first window: norms of windows do not add up to that of their sum,
    for which all of them would have to be in memory together.

    The model is loaded as in `lm_loss`. Gradients are those of the model as it scores, without dropout.

    Raises FileNotFoundError when there is no such model, ValueError when it cannot be used, has no such
    parameters, or has some of layers that are neither linear nor embeddings nor norms, MemoryError when a
    single window does not fit on the device.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "max_tokens": 12},
        {"model": "configs/quickstart/stories260K", "max_tokens": 8, "kind": "full", "dtype": "float32"}
        | {"parameters": ("*.mlp.*", "*norm*", "*embed*")},
    )

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    kind: Literal["last_layer", "full"] = "last_layer"
    """Which weights the gradient is by."""
    parameters: tuple[str, ...] | None = None
    """Patterns of the names of the parameters that `full` is by, such as `*.mlp.*` or `model.layers.11.*`
    (* and ? as in a shell); all parameters when not given."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Score only the first so many tokens of a document; all of the first window when not given."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one pass, and so the longest window."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model (see `lm_loss`); products of gradients are float32."""

    @model_validator(mode="after")
    def _patterns_are_of_full(self) -> Self:
        if self.parameters is not None and self.kind != "full":
            raise ValueError(f"parameters = {list(self.parameters)} does nothing without `kind: full`")
        if self.parameters == ():
            raise ValueError("parameters = [] names none; leave it out for all of them")
        return self

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"grad_norm": pa.float32(), "loss": pa.float32(), "scored_tokens": pa.int64()}

    def load(self, device: str) -> CausalLm:
        """The model and its tokenizer on `device`, and for `full` the parameters ready for gradients."""
        from gpu_ops.kernels import causal_lm, sequence_norms

        lm = causal_lm.load(self.model, device, self.dtype, self.batch_tokens)
        if self.kind == "full":
            return sequence_norms.with_gradients(lm, self.parameters)
        return sequence_norms.with_head(lm, self.model)

    def prepare(self, batch: pa.RecordBatch, model: CausalLm) -> list[np.ndarray]:
        """Every text's token ids."""
        limit = model.window if self.max_tokens is None else min(self.max_tokens, model.window)
        return [found.ids for found in model.documents(batch.column("text"), limit)]

    def columns(self, prepared: list[np.ndarray], model: CausalLm) -> Columns:
        from gpu_ops.kernels.sequence_norms import full, last_layer, sequence_norms

        found = sequence_norms(model, prepared, full if self.kind == "full" else last_layer)
        none = found.tokens == 0
        return {
            "grad_norm": pa.array(found.norms.astype(np.float32), pa.float32(), mask=none),
            "loss": pa.array(found.losses.astype(np.float32), pa.float32(), mask=none),
            "scored_tokens": pa.array(found.tokens, pa.int64()),
        }
