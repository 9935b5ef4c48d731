"""lm_loss: what one pass of a causal language model says of a document: loss, uncertainty, gradient bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.causal_lm import CausalLm
    from gpu_ops.kernels.tokens import Document


class LmLoss(ScoreOp):
    """Scores every document with a causal language model: one pass gives all columns and keeps no logits.

    Adds, over the scored tokens t with softmax p_t, target y_t and final hidden state h_t:
    - `loss`: mean of -log p_t(y_t), nats per token; `loss_per_byte`: nats per UTF-8 byte of the scored text,
      comparable between tokenizers; `perplexity`: exp(loss).
    - `entropy`: mean entropy of p_t, nats; `margin`: mean of the largest minus the second largest p_t;
      `least_confidence`: mean of 1 - the largest (Lewis & Gale 1994; Settles 2009).
    - `el2n`: mean of ||p_t - onehot(y_t)|| (Paul et al. 2021); `grad_bound`: mean of ||p_t - onehot(y_t)||
      ||h_t||, an upper bound of the output layer's gradient norm of `loss` (by the triangle inequality;
      Katharopoulos & Fleuret 2018 bound the whole network's by the first factor). `grad_norm` has exact ones.
    - `tokens` of the whole document (special tokens not counted) and `scored_tokens`.
    All but the last two are null where no token is scored: empty and null texts.

    Where the tokenizer has a BOS token it is put in front and every token is scored; where it has none,
    the first token is context only. A text longer than the model's context (or than `batch_tokens`,
    where that is less) is scored in consecutive windows, each with BOS in front; without BOS a window
    starts with the last token of the one before. Every token is scored once and all weigh the same.

    `loss_per_byte` divides the summed loss by the UTF-8 bytes of the scored text: from its start (without
    BOS: from the end of the first token) to the end of the last scored token; a character cut in
    two by `max_tokens` counts whole. Bytes that are no UTF-8 are read, and counted, as U+FFFD. A text over
    65,536 characters is tokenised in pieces of that size, cut at white space.

    The model must be a folder or a hub name with safetensors weights and a fast tokenizer; no code of the
    model's repository is ever run. A folder is read without the network. Nodes that name the same model
    with the same fields share one pass (`uncertainty`, `loss_gap`).

    Raises FileNotFoundError when there is no such model, ValueError when it cannot be used, MemoryError
    when a single window does not fit on the device.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "max_tokens": 24},
        {"model": "configs/quickstart/stories260K", "max_tokens": 600, "batch_tokens": 1024},
    )

    model: ModelPath
    """Folder of a Hugging Face model (config.json, *.safetensors, tokenizer.json), or its hub name."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Score only the first so many tokens of a document; all when not given."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass, and so the longest window."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model. auto: float32; on a GPU, bfloat16 for weights that are stored in 16 bits
    (such scores agree to about 1e-2 between batches, float32 ones to 1e-4)."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        means = ("loss", "loss_per_byte", "perplexity", "entropy", "margin", "least_confidence", "el2n")
        counts = dict.fromkeys(("tokens", "scored_tokens"), pa.int64())
        return {**dict.fromkeys((*means, "grad_bound"), pa.float32()), **counts}

    def load(self, device: str) -> CausalLm:
        """The model and its tokenizer on `device`."""
        from gpu_ops.kernels.causal_lm import load

        return load(self.model, device, self.dtype, self.batch_tokens)

    def prepare(self, batch: pa.RecordBatch, model: CausalLm) -> list[Document]:
        return model.documents(batch.column("text"), self.max_tokens)

    def columns(self, prepared: list[Document], model: CausalLm) -> Columns:
        from gpu_ops.kernels.token_stats import document_stats

        found = document_stats(model, [document.ids for document in prepared])
        scored, value = found.counts, found.values
        num_bytes = np.array([document.num_bytes for document in prepared], np.int64)
        totals = {name: found.sums(value[name]) for name in ("loss", "entropy", "margin")}
        totals["least_confidence"] = scored - found.sums(value["top"])
        totals["el2n"] = found.sums(value["delta"])
        totals["grad_bound"] = found.sums(value["delta"] * np.sqrt(value["hidden_square"]))
        with np.errstate(over="ignore"):
            perplexity = np.exp(totals["loss"] / np.maximum(scored, 1)) * scored
        return {
            **{name: _ratio(total, scored) for name, total in totals.items()},
            "perplexity": _ratio(perplexity, scored),
            "loss_per_byte": _ratio(totals["loss"], np.where(scored > 0, num_bytes, 0)),
            "tokens": pa.array([document.tokens for document in prepared], pa.int64()),
            "scored_tokens": pa.array(scored, pa.int64()),
        }


def _ratio(total: np.ndarray, count: np.ndarray) -> pa.Array:
    """total / count as float32, null where the count is 0."""
    values = np.divide(total, count, out=np.zeros(len(total)), where=count > 0)
    with np.errstate(over="ignore"):
        return pa.array(values.astype(np.float32), pa.float32(), mask=count == 0)
