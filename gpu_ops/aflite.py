"""AFLite: rows whose label a linear model reads off the embedding too easily go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from gpu_ops.kernels.linear import labelled, share_correct, standardised
from operators.contract import DROP, Adds, Artifact, Columns, FitOp, Kind, Reads, Uses, drop_column
from operators.kernels.counter import random_bits, uniform
from operators.kernels.lookup import places

_STREAM = 0x61666C697465  # keeps apart from other operators that share a seed


class Aflite(FitOp):
    """Drops, round after round, the rows whose label linear models predict from the embedding alone.

    AFLite (Le Bras et al. 2020, arXiv 2002.04108; Sakaguchi et al. 2020). In each round `partitions`
    linear classifiers are trained on `train_rows` random rows each; a row's predictability is the share
    of correct predictions among those of models that were not trained on it. Then the most predictable
    `slice_share` of all rows go, as far as they reach `tau`, until `keep_share` is left or fewer than a
    whole slice reaches `tau`. For fine-tuning sets: it lowers the share of rows that a shortcut solves.

    What to expect (`workflows/adversarial.py`; a word that names the label planted in 70 % of the texts, one
    third of the rows kept, five seeds): the planted share fell by 24 % (subjectivity) and 51 % (sentence
    polarity). The gain out of distribution is NOT dependable: against as many random rows, models were
    better on texts without the word by .015 +- .004 and .038 +- .006, an earlier measurement found none (.843
    against .845), and where nothing is planted they lost: -.002 +- .004 and -.113 +- .029. What is left then
    are the hard and the mislabelled rows.

    `drop` is "predictable"; `predictability` that of the last round that the row was in; `round` the one in
    which it went, from 1, null for rows that stay. Rows with a null label, or without an embedding of
    numbers below 1e18, take no part and stay; their columns are null. All randomness depends on (seed, key).

    One job; it holds all embeddings: 12 bytes a number and 100 bytes a row at its peak.
    Needs scikit-learn. ValueError for embeddings of different lengths and for more than 4,096 labels.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"partitions": 8, "seed": 1},
        {"label": "domain", "keep_share": 0.7, "classifier": "ridge", "partitions": 5, "tau": 0.1, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str = "label"
    """The column of labels: strings or integers."""
    partitions: Annotated[int, Field(ge=1)] = 64
    """Classifiers in a round."""
    train_rows: Annotated[int, Field(ge=1)] | None = None
    """Rows that each is trained on; by default half of what is to be kept."""
    keep_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the rows at which it ends (one third unless `keep_rows`)."""
    keep_rows: Annotated[int, Field(ge=1)] | None = None
    """Instead of `keep_share`: the number of rows at which it ends."""
    slice_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The share of all rows that goes in a round at most."""
    tau: Annotated[float, Field(ge=0, le=1)] = 0.75
    """The predictability from which a row may go."""
    classifier: Literal["logistic", "ridge"] = "logistic"
    """`logistic` regression, or `ridge` (least squares on the labels): twice as fast with two
    labels, over 20 times with 77."""
    seed: int | None = None
    """Seed of the partitions; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.keep_share is not None and self.keep_rows is not None:
            raise ValueError(f"keep_share = {self.keep_share} and keep_rows = {self.keep_rows}: give one")
        return self

    @property
    def reads(self) -> Reads:
        columns = {self.embedding: Kind.VECTOR, self.label: Kind.LABEL}
        return {"uid": pa.int64(), "key": pa.uint64(), **columns}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "predictability": pa.float32(), "round": pa.int32()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for n rows that took part, by uid: `uid`, `predictability` (float32), `round` (int32)."""
        uid, key, vectors, label = self._gather(rows)
        luck = random_bits((self.seed or 0) ^ _STREAM, key)
        score, round_ = np.full(len(uid), np.nan, np.float32), np.zeros(len(uid), np.int32)
        target = self.keep_rows or round((self.keep_share or 1 / 3) * len(uid))
        size, train = max(1, round(self.slice_share * len(uid))), self.train_rows or max(1, target // 2)
        left, number = np.arange(len(uid)), 1
        while train < len(left) > target:
            now = self._predictability(vectors[left], label[left], luck[left], train, number)
            score[left] = now
            most = min(size, len(left) - target)
            best = np.lexsort((luck[left], -now))  # never held out: NaN, the last
            best = best[now[best] >= self.tau][:most]
            round_[left[best]] = number
            left, number = np.delete(left, best), number + 1
            if len(best) < most:
                break
        order = np.argsort(uid)
        return {"uid": uid[order], "predictability": score[order], "round": round_[order]}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        uid, known = np.asarray(batch.column("uid")), state["uid"]
        place, part = places(uid, known)
        score, round_ = np.full(len(uid), np.nan, np.float32), np.zeros(len(uid), np.int32)
        score[part], round_[part] = (state[name][place[part]] for name in ("predictability", "round"))
        return {
            "drop": drop_column(np.where(round_ > 0, 0, -1), ["predictable"]),
            "predictability": pa.array(score, mask=np.isnan(score)),
            "round": pa.array(round_, mask=round_ == 0),
        }

    def _gather(self, rows: Iterator[pa.RecordBatch]) -> Any:
        """uid, key, standardised vectors (n, d) float32 and labels (n,) int64, in an order by key."""
        uid, key, vectors, _, label = labelled(rows, self.embedding, self.label)
        return uid, key, standardised(vectors), label

    def _predictability(
        self,
        vectors: npt.NDArray[np.float32],
        label: npt.NDArray[np.int64],
        luck: npt.NDArray[np.uint64],
        train: int,
        number: int,
    ) -> npt.NDArray[np.float32]:
        """(n,) the share of correct predictions of held-out rows; NaN where there was none."""
        parts = (uniform(number * self.partitions + i, luck) for i in range(self.partitions))
        trained = (np.argpartition(part, train - 1)[:train] for part in parts)
        return share_correct(vectors, label, trained, self.classifier)
