"""A document as the vector of how much some of its tokens surprise a language model (ALPS)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp
from operators.kernels.counter import UInt64s, mix64, uniform

if TYPE_CHECKING:
    from gpu_ops.kernels.causal_lm import CausalLm
    from gpu_ops.kernels.tokens import Document

Prepared = tuple["list[Document]", np.ndarray]
_STREAM = 0x616C7073  # keeps apart from other operators that share a seed


class Surprisal(ScoreOp):
    """Adds `surprisal`, a vector of `max_tokens` numbers and length 1 to cluster documents by.

    ALPS (Yuan et al. 2020, arXiv 2010.09535, section 4): the model's loss at a random `share` of the
    positions, 0 at all others, over its length. The paper takes a masked language model; here it is a causal
    one, and the tokens are not masked either. Position i is the i-th scored token, so that documents are
    alike where they surprise at the same places: a representation for short texts. (On hashed bigram
    losses the method did not beat random selection; see METHODS row 28.)

    Which positions: of the n first tokens round(share * n), at least one, those of the least random
    numbers; a pure function of (seed, key). Null where no token is scored. Raises as `lm_loss`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "max_tokens": 16},
        {"model": "configs/quickstart/stories260K", "max_tokens": 9, "share": 0.5, "seed": 3},
    )

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 128
    """The first so many tokens of a document are looked at: the vector's size."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Of its tokens, those whose loss enters."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model (see `lm_loss`)."""
    seed: int | None = None
    """Seed of the positions; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"surprisal": pa.list_(pa.float32())}

    def load(self, device: str) -> CausalLm:
        """The model and its tokenizer on `device`."""
        from gpu_ops.kernels.causal_lm import load

        return load(self.model, device, self.dtype, self.batch_tokens)

    def prepare(self, batch: pa.RecordBatch, model: CausalLm) -> Prepared:
        return model.documents(batch.column("text"), self.max_tokens), np.asarray(batch.column("key"))

    def columns(self, prepared: Prepared, model: CausalLm) -> Columns:
        from gpu_ops.kernels.token_stats import document_stats

        documents, key = prepared
        found = document_stats(model, [document.ids for document in documents], {"loss"})
        vectors = np.zeros((len(documents), self.max_tokens))
        for row, vector in enumerate(vectors):
            losses = found.values["loss"][found.starts[row] : found.starts[row + 1]]
            chosen = self._positions(key[row : row + 1], len(losses))
            vector[chosen] = losses[chosen]
        length = np.linalg.norm(vectors, axis=1)
        vectors /= np.where(length > 0, length, 1)[:, None]
        values = pa.array(vectors.astype(np.float32).ravel())
        offsets = pa.array(np.arange(len(documents) + 1, dtype=np.int32) * self.max_tokens)
        return {"surprisal": pa.ListArray.from_arrays(offsets, values, mask=pa.array(length == 0))}

    def _positions(self, key: UInt64s, tokens: int) -> np.ndarray:
        """Which of the tokens enter."""
        places = mix64(key) ^ mix64(np.arange(tokens, dtype=np.uint64))
        luck = uniform((self.seed or 0) ^ _STREAM, places)
        return np.argsort(luck, kind="stable")[: max(round(self.share * tokens), min(tokens, 1))]
