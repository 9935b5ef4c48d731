"""What dropout does to a causal language model's distributions: their mutual information with the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.noisy_lm import NoisyLm
    from gpu_ops.kernels.tokens import Document

Prepared = tuple["list[Document]", np.ndarray]


class DropoutPasses(ScoreOp):
    """Adds `bald` and `mean_entropy`, means over the scored tokens, in nats. A part of `uncertainty`.

    `mean_entropy` is the entropy of the mean of the passes' distributions, `bald` that minus the mean of
    their entropies (Gal et al. 2017). Dropout masks depend on (seed, key), window, pass and place alone, so
    that no batch changes them. They act in the model's dropout modules; with `dropout` in a model that has
    none, as most language models since 2020, on what goes into every linear layer but the last (Gal &
    Ghahramani 2016, which puts them before every weight layer). Dropout of attention weights is not active.

    The head must be one that `Head` knows. Logits exist for a few rows at a time.

    Raises as `lm_loss`, and ValueError where nothing would be dropped.
    """

    tolerance: ClassVar[float] = 1e-3
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Score only the first so many tokens of a document; all when not given."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass, and so the longest window."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model (see `lm_loss`)."""
    passes: Annotated[int, Field(ge=2, le=1000)] = 10
    """Passes with dropout."""
    dropout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The rate of dropout; by default the model's own."""
    seed: int | None = None
    """Seed of the dropout; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"bald": pa.float32(), "mean_entropy": pa.float32()}

    def load(self, device: str) -> NoisyLm:
        """The model with dropout in it, and its tokenizer, on `device`."""
        from gpu_ops.kernels.causal_lm import load
        from gpu_ops.kernels.noisy_lm import noisy

        return noisy(load(self.model, device, self.dtype, self.batch_tokens), self.dropout)

    def prepare(self, batch: pa.RecordBatch, model: NoisyLm) -> Prepared:
        return model.lm.documents(batch.column("text"), self.max_tokens), np.asarray(batch.column("key"))

    def columns(self, prepared: Prepared, model: NoisyLm) -> Columns:
        from gpu_ops.kernels.noisy_lm import mutual_information

        documents, key = prepared
        ids = [document.ids for document in documents]
        found = mutual_information(model, ids, key, self.seed or 0, self.passes)
        absent = found.counts == 0
        return {
            name: pa.array((found.sums(values) / np.maximum(found.counts, 1)).astype(np.float32), mask=absent)
            for name, values in found.values.items()
        }
