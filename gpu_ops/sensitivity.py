"""sensitivity: how much small changes to a document change what a classifier says of it (ALLSH)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.class_columns import numbers
from operators.contract import TEXT, Adds, Columns, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.encoders import Encoder
    from gpu_ops.kernels.packing import Int64s
    from gpu_ops.kernels.tokens import Ids

# Rows of the batch; those with a token; their inputs; the inputs of each change of them.
Prepared = tuple[int, "Int64s", "list[Ids]", "list[list[Ids]]"]


class Sensitivity(ScoreOp):
    """Adds `sensitivity`, the KL divergence (nats) from what a classifier says of a text to what it says of
    the text with small changes that should not matter, and `flipped`, the share of changes after which it
    predicts another class.

    Local sensitivity, ALLSH (Zhang et al. 2022, arXiv 2205.04980): documents of high sensitivity lie where
    the classifier does not generalise, and are worth a label. Changes need no model: words are dropped,
    swapped with the next, misspelt, or changed in case and punctuation (`kinds`, in turn), at least one
    in every text. They depend on (seed, key) and the word's place alone. `sensitivity` is the largest
    of the `augmentations` divergences (the paper's worst case), or their mean.

    Words are what white space separates: a text that is one word, as in Chinese, gets typos and case only.
    Texts are truncated to the model's input, and changed within their first 12 characters per token
    of that. Both columns are null for null, empty and blank texts. For sequence classifiers only; models and
    errors are as in `classifier_scores`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/examples/tiny_classifier", "seed": 3},
        {"model": "configs/examples/tiny_classifier", "kinds": ("typo",), "augmentations": 2}
        | {"worst_case": False, "rate": 0.5, "max_tokens": 16, "seed": 4},
    )

    model: ModelPath
    """Folder of a sequence classifier (config.json, *.safetensors, tokenizer.json), or its hub name."""
    augmentations: Annotated[int, Field(ge=1, le=1000)] = 4
    """How many changed texts there are of each document; each costs a forward pass."""
    kinds: Annotated[tuple[Literal["drop", "swap", "typo", "surface"], ...], Field(min_length=1)] = (
        "drop",
        "swap",
        "typo",
        "surface",
    )
    """The kinds of change, taken in turn."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The share of the words that change."""
    worst_case: bool = True
    """Whether the largest divergence counts, rather than the mean."""
    seed: int | None = None
    """Seed of the changes; the plan derives one from the run's seed and the node's name."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest input in tokens, special ones included; by default the model's own limit."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model. auto: float32; on a GPU, bfloat16 for weights that are stored in 16 bits."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"sensitivity": pa.float32(), "flipped": pa.float32()}

    def load(self, device: str) -> Encoder:
        """The model and its tokenizer on `device`."""
        from gpu_ops.kernels.encoders import load_classifier

        return load_classifier(self.model, device, self.dtype, self.max_tokens, self.batch_tokens)

    def prepare(self, batch: pa.RecordBatch, model: Encoder) -> Prepared:
        """The rows that have a token, and the inputs of each text as it is and of all of its changes."""
        from gpu_ops.kernels.classify import sequences
        from gpu_ops.kernels.tokens import FIRST_CHARS, first_ids, strings
        from gpu_ops.kernels.word_noise import luck_of, noisy_text

        # Of both the same stretch: what small changes bring in from behind would be no small change.
        texts = [text[: FIRST_CHARS * model.room] for text in strings(batch.column("text"))]
        rows, inputs = sequences(model, texts)
        changed = []
        luck = luck_of(self.seed or 0, np.asarray(batch.column("key"))[rows])
        begins = [texts[i] for i in rows]
        for number in range(self.augmentations):
            kind, bits = self.kinds[number % len(self.kinds)], luck_of(number, luck).tolist()
            noisy = [noisy_text(text, kind, self.rate, b) for text, b in zip(begins, bits, strict=True)]
            ids = first_ids(model.tokenizer, noisy, model.room)
            # A text whose only words with tokens were dropped has not changed into anything.
            changed.append([model.sequence(one) if len(one) else inputs[i] for i, (one, _) in enumerate(ids)])
        return batch.num_rows, rows, inputs, changed

    def columns(self, prepared: Prepared, model: Encoder) -> Columns:
        """One divergence a row, whatever the other rows of the batch are."""
        from gpu_ops.kernels.classify import log_probabilities
        from gpu_ops.kernels.uncertainty import divergence

        n, rows, inputs, changed = prepared
        log_p = log_probabilities(model, inputs)
        found, flipped = np.zeros((2, self.augmentations, len(rows)))
        for number, other in enumerate(changed):
            log_q = log_probabilities(model, other)
            found[number] = divergence(log_p, log_q)
            flipped[number] = log_q.argmax(axis=1) != log_p.argmax(axis=1)
        value = found.max(axis=0) if self.worst_case else found.mean(axis=0)
        return {"sensitivity": numbers(rows, value, n), "flipped": numbers(rows, flipped.mean(axis=0), n)}
