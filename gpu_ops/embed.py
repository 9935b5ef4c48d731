"""embed: a vector for every document, by a sentence-transformers model or pooled hidden states of any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.embeddings import Embedder, Pieces


class Embed(ScoreOp):
    """Adds the `embedding` of every document, for `kmeans`, `semantic_dedup`, `aflite`, `classifier_head`.

    With `pooling: model` it is what SentenceTransformer.encode gives: the model's pooling and prompt, and of
    a text longer than the model's `max_seq_length` only the beginning. `windows: true` embeds all of it, in
    consecutive windows of that size; the embedding is their mean, weighted by tokens of text. With `pooling:
    mean`, `first` or `last` hidden states of any model with safetensors are pooled, also of a causal
    language model; special tokens take part, as they do in sentence-transformers.

    Also adds `tokens`, the tokens of text that were embedded (without special tokens, with the prefix), and
    `truncated`, true where the text has more. `embedding` is null for null, empty and blank texts, and
    such without a token. (SentenceTransformer.encode gives all of those one and the same vector.) Bytes
    that are no UTF-8 are read as U+FFFD.

    The model must be a folder or a hub name with safetensors weights and a fast tokenizer; no pickle is
    loaded and no code of the model's repository run. A folder is read without the network.
    `pooling: model` needs sentence-transformers (`pip install tamis[embed]`).

    Raises FileNotFoundError when there is no such model, ValueError when it cannot be used, MemoryError
    when a single window does not fit on the device.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/quickstart/stories260K", "pooling": "mean", "max_tokens": 64},
        {"model": "configs/quickstart/stories260K", "pooling": "last", "layer": 2, "windows": True}
        | {"dimensions": 16, "normalise": False, "prefix": "One day, "},
    )

    model: ModelPath
    """Folder of a sentence-transformers or Hugging Face model (*.safetensors), or its hub name."""
    pooling: Literal["model", "mean", "first", "last"] = "model"
    """`model`: as the sentence-transformers model says (its modules.json). Else which hidden states count:
    the `mean` over all tokens, or that of the `first` or the `last` one."""
    layer: int = -1
    """The layer whose hidden states are pooled: 0 is the input embeddings, -1 the last layer."""
    normalise: bool = True
    """Whether embeddings get the length 1 (after `dimensions`)."""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Keep only the first so many numbers, for models that were trained for that (Matryoshka)."""
    prefix: str | None = None
    """Text put before every document, such as "query: "; by default the model's default prompt, if any."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest input in tokens, special ones included; by default the model's own limit."""
    windows: bool = False
    """Embed the whole of longer texts, in windows of `max_tokens`, the prefix before each."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model. auto: float32; on a GPU, bfloat16 for weights that are stored in 16 bits
    (such embeddings agree to about 1e-2 between batches, float32 ones to 1e-4)."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"embedding": pa.list_(pa.float32()), "tokens": pa.int64(), "truncated": pa.bool_()}

    def load(self, device: str) -> Embedder:
        """The model and its tokenizer on `device`."""
        from gpu_ops.kernels.embeddings import Embedder
        from gpu_ops.kernels.encoders import load_pooled, load_sentence_model

        limits = (self.model, device, self.dtype, self.max_tokens, self.batch_tokens)
        if self.pooling == "model":
            if self.layer != -1:
                raise ValueError(f"layer = {self.layer} needs `pooling: mean`, `first` or `last`")
            encoder, prompt = load_sentence_model(*limits, self.prefix)
        else:
            encoder, prompt = load_pooled(*limits, self.pooling, self.layer), self.prefix or ""
        return Embedder(encoder, prompt, self.windows)

    def prepare(self, batch: pa.RecordBatch, model: Embedder) -> Pieces:
        from gpu_ops.kernels.embeddings import tokenised
        from gpu_ops.kernels.tokens import strings

        return tokenised(model, strings(batch.column("text")))

    def columns(self, prepared: Pieces, model: Embedder) -> Columns:
        """One embedding a row, whatever the other rows of the batch are."""
        from gpu_ops.kernels.embeddings import embed

        found = embed(model, prepared, self.dimensions, self.normalise)
        return {
            "embedding": found.lists(),
            "tokens": pa.array(found.tokens),
            "truncated": pa.array(found.truncated),
        }
