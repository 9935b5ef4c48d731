"""AutoAssist: a small model that says which texts a large one has nothing to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.assistant import gram_matrix, sure
from gpu_ops.kernels.linear import fitted
from operators.contract import (
    DROP,
    TEXT,
    Adds,
    Artifact,
    Columns,
    FitOp,
    Kind,
    Reads,
    Telling,
    Uses,
    drop_column,
)
from operators.kernels.counter import UInt64s, mix64, uniform
from operators.kernels.ngram_rows import list_ngrams
from operators.kernels.ngrams import orders_wanted
from operators.kernels.text_buffers import text_buffers
from operators.ngram_counts import Orders
from operators.quantiles import number_column

Floats = npt.NDArray[np.float64]

_STREAM = 0x617373697374  # keeps apart from other operators that share a seed
_HELD_OUT = 0.2  # of the scored rows, by which the assistant is judged


class Assistant(FitOp, Telling):
    """Learns from the rows with a loss which texts are trivial, and drops those of all rows at random.

    AutoAssist (Zhang, Yu & Dhillon 2019, arXiv 1905.03381): a text is not trivial if its loss is above the
    mean minus one standard deviation of all losses; logistic regression on hashed n-grams predicts that
    probability p; a row stays with the probability gamma + (1 - gamma) p. There the assistant learns beside
    the training, here once, from the part of the rows that has a loss: score a sample of the corpus
    (`lm_loss` where `undersample` left rows) and join it. Adds `p_nontrivial` for all rows, `weight`, the
    inverse of the probability with which a row stayed (weighted sums are unbiased), and `drop`: "trivial".
    Whether a row stays depends on (seed, key).

    n-grams are those of `ngram_counts`; a row of features is the logarithm of 1 + its counts, of length 1.
    Rows with a null or empty text have no n-grams and the probability that the intercept gives. Where all
    losses are equal, or none is known, nothing is trivial.

    The run tells the AUC on a fifth of the scored rows that was held out (the final model has them too), of
    its own label and of "loss above the median". Measured with stories260K's loss over the first 64 or 256
    tokens of 3,000 documents: Debian's documentation .947 and .842 (64), .986 and .855 (256); Debian's
    package descriptions .783 and .735, .811 and .758. With 4,096 bytes instead of 300 the second figure was
    .775, .755, .708 and .758, with 150 bytes .879, .820, .779 and .695: read about as much of a text as was
    scored. What dropping by it does to a training was not measured.

    It seeks high losses a little: gamma keeps the harm small, but see `loss_importance` for noise.
    One job: at most `max_rows` scored rows, 12 bytes for each of their n-grams. Needs scikit-learn.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loss": "score", "seed": 1},
        {"loss": "words", "ngrams": [1], "buckets": 64, "gamma": 0.1, "max_rows": 20, "max_bytes": 40}
        | {"mark": True, "seed": 2},
    )

    loss: str = "loss"
    """The numeric column of losses; null, NaN and infinite for rows that were not scored."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.3
    """The least probability with which a row stays."""
    ngrams: Orders = (1, 2)
    """Which n: single tokens and pairs by default."""
    buckets: Annotated[int, Field(ge=2, le=2**24)] = 2**16
    """How many hash buckets all n-grams share: the number of coefficients."""
    regularisation: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the squared coefficients: the inverse of scikit-learn's C."""
    max_rows: Annotated[int, Field(ge=1)] = 50_000
    """Learn from at most so many of the scored rows, chosen by key."""
    max_bytes: Annotated[int, Field(ge=1)] | None = 300
    """Read only the first so many bytes of a text; all when null. About as many as were scored serve best."""
    mark: bool = False
    """Only adds columns; no row is dropped, and `weight` tells nothing of a choice: it is left out."""
    seed: int | None = None
    """Seed of the choice; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {"key": pa.uint64(), "text": TEXT, self.loss: Kind.NUMBER}

    @property
    def columns_read(self) -> Reads:
        return {"key": pa.uint64(), "text": TEXT}

    @property
    def adds(self) -> Adds:
        chosen = {} if self.mark else {"drop": DROP, "weight": pa.float64()}
        return {**chosen, "p_nontrivial": pa.float64()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact: `coef` (buckets,), `intercept` (1,); `scored` rows learnt from, `nontrivial` their share,
        `auc` (2,) held out, of the label and of a loss above the median (NaN where there is one class)."""
        offsets, grams, loss, luck = self._gather(rows)
        x = gram_matrix(offsets, grams, self.buckets)
        hard = np.ones(len(loss), bool)
        if len(loss) and loss.min() < loss.max():
            scaled = loss / np.abs(loss).max()  # squares of huge losses would overflow
            hard = scaled > scaled.mean() - scaled.std()
        held = uniform(_STREAM, luck) < _HELD_OUT
        auc = np.full(2, np.nan)
        if held.any() and not held.all():
            score = sure(x[held], *self._learn(x[~held], hard[~held]))
            auc = np.array([_auc(hard[held], score), _auc(loss[held] > np.median(loss), score)])
        coef, intercept = self._learn(x, hard)
        share = np.array([hard.mean() if len(hard) else 1.0])
        scored = np.array([len(loss)])
        return {
            "coef": coef,
            "intercept": np.array([intercept]),
            "scored": scored,
            "nontrivial": share,
            "auc": auc,
        }

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        x = gram_matrix(*self._ngrams(batch.column("text")), self.buckets)
        p = sure(x, state["coef"], float(state["intercept"][0]))
        out: dict[str, pa.Array] = {"p_nontrivial": pa.array(p)}
        if not self.mark:
            stays = self.gamma + (1 - self.gamma) * p
            kept = uniform((self.seed or 0) ^ _STREAM, np.asarray(batch.column("key"))) < stays
            out["drop"] = drop_column(np.where(kept, -1, 0), ["trivial"])
            out["weight"] = pa.array(1 / stays, mask=~kept)
        return out

    def tell(self, state: Artifact) -> str:
        own, median = (f"{a:.3f}" if np.isfinite(a) else "unknown" for a in state["auc"])
        rows, share = int(state["scored"][0]), float(state["nontrivial"][0])
        return (
            f"learnt from {rows:,} rows with a loss, {share:.1%} of them not trivial; AUC on held-out "
            f"rows {own}, of a loss above the median {median}"
        )

    def _gather(self, rows: Iterator[pa.RecordBatch]) -> tuple[Any, Any, Floats, UInt64s]:
        """n-grams (offsets, buckets), losses and luck (by key) of the scored rows to learn from."""
        lengths, grams, losses, lucks = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)], [np.zeros(0)], []
        for batch in rows:
            loss = number_column(batch.column(self.loss))
            known = np.flatnonzero(np.isfinite(loss))
            offsets, found = self._ngrams(batch.column("text").take(pa.array(known)))
            lengths.append(np.diff(offsets))
            grams.append(found)
            losses.append(loss[known])
            lucks.append(mix64(np.asarray(batch.column("key"))[known]))
        luck = np.concatenate([np.zeros(0, np.uint64), *lucks])
        length, every = np.concatenate(lengths), np.concatenate(grams)
        take = np.zeros(len(luck), bool)
        take[np.argsort(luck, kind="stable")[: self.max_rows]] = True
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(length[take])])
        return offsets, every[np.repeat(take, length)], np.concatenate(losses)[take], luck[take]

    def _ngrams(self, texts: pa.Array) -> tuple[Any, Any]:
        data, starts, ends = text_buffers(texts)
        if self.max_bytes is not None:
            ends = np.minimum(ends, starts + self.max_bytes)
        return list_ngrams(data, starts, ends, orders_wanted(self.ngrams), self.buckets)

    def _learn(self, x: Any, hard: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
        """Coefficients and intercept in nats; of one class alone an intercept that is sure of it."""
        if not hard.any() or hard.all():
            return np.zeros(self.buckets), -np.inf if len(hard) and not hard.any() else np.inf
        from sklearn.linear_model import LogisticRegression

        model = fitted(LogisticRegression(C=1 / self.regularisation, max_iter=200), x, hard.astype(np.int64))
        return model.coef_[0].astype(np.float64), float(model.intercept_[0])


def _auc(positive: npt.NDArray[np.bool_], score: Floats) -> float:
    """The probability that a positive row scores above a negative one; NaN where there is one class."""
    from sklearn.metrics import roc_auc_score

    if not positive.any() or positive.all():
        return float("nan")
    return float(roc_auc_score(positive, score))
