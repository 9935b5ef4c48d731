"""classifier_scores: what a sequence classifier says of a document, how sure it is, and how wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from gpu_ops.kernels.class_columns import (
    ADDS,
    GOLD,
    PASSES,
    class_columns,
    gold_columns,
    numbers,
    pass_column,
)
from gpu_ops.kernels.uncertainty import bald
from operators.contract import TEXT, Adds, Columns, Kind, ModelPath, Reads, ScoreOp

if TYPE_CHECKING:
    from gpu_ops.kernels.classify import Classifier
    from gpu_ops.kernels.packing import Int64s
    from gpu_ops.kernels.tokens import Ids

# The batch, its rows that have a token, and their inputs.
Prepared = tuple[pa.RecordBatch, "Int64s", "list[Ids]"]


class ClassifierScores(ScoreOp):
    """Scores every document with a Hugging Face sequence classifier (on embeddings: `classifier_head`).

    Adds `probabilities` (of the classes, in the model's order), `predicted` (the name of the likeliest),
    `confidence` (its probability), `least_confidence` (1 - that), `margin` (over the second), `entropy`
    (nats).

    With `labels`, a column of right classes (names, or numbers): `p_label`, the probability of the right one,
    `loss` = -log of that (nats), and `el2n`, the length of probabilities - one-hot label (Paul et al.
    2021, arXiv 2107.07075); null where the label is null or in `no_label`.

    With `passes`: `bald`, the mutual information (nats) of label and weights over so many passes with
    dropout (Gal et al. 2017, arXiv 1703.02910): entropy of the mean distribution - mean entropy. Dropout
    masks depend on (seed, key) and the place alone, so that no batch changes them. Every dropout module of
    the model is active (embeddings, hidden states, head); dropout of attention weights is not. With
    `keep_passes` also `pass_probabilities`, those of the first pass, then of the next, as `batch_bald` reads
    them. The other columns are those without dropout.

    A text longer than the model's input is scored by its beginning. All columns are null for null, empty
    and blank texts. Needs a folder or hub name with safetensors weights and a fast tokenizer; no pickle is
    loaded and no code of the model's repository run.

    Raises FileNotFoundError when there is no such model; ValueError when it cannot be used, among others for
    one without a trained classification head, and for a label that is no class; MemoryError.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"model": "configs/examples/tiny_classifier", "labels": "label", "no_label": (-7,)},
        {"model": "configs/examples/tiny_classifier", "passes": 3, "seed": 5, "max_tokens": 20},
        {"model": "configs/examples/tiny_classifier", "passes": 2, "keep_passes": True, "seed": 6},
    )

    model: ModelPath
    """Folder of a sequence classifier (config.json, *.safetensors, tokenizer.json), or its hub name."""
    labels: str | None = None
    """The column of right classes: the names in the model's config (strings) or their numbers (integers)."""
    no_label: tuple[int | str, ...] = (-1, -100)
    """Labels that mean that there is none, as null does."""
    passes: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Passes with dropout, for `bald`; each costs as much as the scores themselves."""
    keep_passes: bool = False
    """Whether `pass_probabilities` is added: passes times classes numbers a row."""
    dropout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The rate of dropout in these passes; by default the model's own."""
    seed: int | None = None
    """Seed of the dropout; the plan derives one from the run's seed and the node's name."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest input in tokens, special ones included; by default the model's own limit."""
    batch_tokens: Annotated[int, Field(ge=16)] = 16384
    """Most tokens (padding included) in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model. auto: float32; on a GPU, bfloat16 for weights that are stored in 16 bits."""

    @model_validator(mode="after")
    def _dropout_has_passes(self) -> Self:
        if self.dropout is not None and self.passes is None:
            raise ValueError(f"dropout = {self.dropout} does nothing without `passes`, such as `passes: 10`")
        if self.keep_passes and self.passes is None:
            raise ValueError("keep_passes = True does nothing without `passes`, such as `passes: 10`")
        return self

    @property
    def reads(self) -> Reads:
        labels = {self.labels: Kind.ANY} if self.labels else {}
        return {"text": TEXT, **({"key": pa.uint64()} if self.passes else {}), **labels}

    @property
    def adds(self) -> Adds:
        passes = {"bald": pa.float32()} if self.passes else {}
        return {**ADDS, **(GOLD if self.labels else {}), **passes, **(PASSES if self.keep_passes else {})}

    def load(self, device: str) -> Classifier:
        """The model and its tokenizer on `device`."""
        from gpu_ops.kernels.classify import Classifier
        from gpu_ops.kernels.encoders import load_classifier, vectors
        from gpu_ops.kernels.keyed_dropout import PROBE, probe, with_keyed_dropout

        limits = (self.model, device, self.dtype, self.max_tokens, self.batch_tokens)
        plain = load_classifier(*limits)
        if not self.passes:
            return Classifier(plain)
        noisy = load_classifier(*limits)
        noise = with_keyed_dropout(noisy.network, self.dropout)
        tried = np.concatenate([noisy.sequence(np.zeros(1, np.int32))] * PROBE)
        probe(noise, lambda: vectors(noisy, np.split(tried, PROBE)))
        return Classifier(plain, (noisy, noise))

    def prepare(self, batch: pa.RecordBatch, model: Classifier) -> Prepared:
        from gpu_ops.kernels.classify import sequences
        from gpu_ops.kernels.tokens import strings

        return batch, *sequences(model.plain, strings(batch.column("text")))

    def columns(self, prepared: Prepared, model: Classifier) -> Columns:
        """One distribution a row, whatever the other rows of the batch are."""
        from gpu_ops.kernels.classify import gold, log_probabilities, noisy_passes

        batch, rows, inputs = prepared
        n, names = batch.num_rows, model.plain.labels
        log_p = log_probabilities(model.plain, inputs)
        found = dict(class_columns(rows, log_p, names, n))
        if self.labels:
            label = gold(batch.column(self.labels), names, self.no_label, f"the column {self.labels!r}")
            found |= gold_columns(rows, log_p, label[rows], n)
        if self.passes and model.noisy:
            key = np.asarray(batch.column("key"))[rows]
            passes = noisy_passes(model.noisy, inputs, key, self.seed or 0, self.passes)
            found["bald"] = numbers(rows, bald(passes), n)
            found |= pass_column(rows, passes, n) if self.keep_passes else {}
        return found
