"""map_d: rows that are learnt like wrong labels are, by their losses over the epochs of a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.linear import Float32s, Float64s, Int64s, labelled, standardised
from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.trajectories import other_label, trajectories
from operators.contract import Adds, Artifact, Columns, FitOp, Kind, Reads, Telling, Uses
from operators.kernels.counter import UInt64s, uniform
from operators.kernels.lookup import at, places

_STREAM = 0x6D617064  # keeps apart from other operators that share a seed
_KINDS = ("p_typical", "p_noisy", "p_odd")
_VALUES = (*_KINDS, "mean_loss")


class MapD(FitOp, Telling):
    """Tells rows with a wrong label by how their loss falls while a linear classifier is trained.

    Metadata archaeology, MAP-D (Siddiqui et al. 2022, arXiv 2209.10015, section 2). Some rows are made
    probes of what is known: `noisy` ones get another label, `odd` ones a vector of noise, `typical` ones
    stay as they are. Softmax regression on the embeddings is trained on all rows, and the loss of every row
    is written down after each epoch; a row is what most of the `neighbours` probes with the nearest
    trajectories are. There are two trainings: each half of the rows, by (seed, key), gives the probes of one
    and is judged by the other, so that every row is judged by its own label.

    Adds `p_typical`, `p_noisy` and `p_odd`, the shares of these probes among the neighbours, `mean_loss`
    (nats), the mean of the row's trajectory, and `suspect`, whether p_noisy is at least `threshold`: what to
    set aside before a choice by loss or gradient, which wrong labels otherwise crowd.

    What to expect (10 % of the labels flipped, MiniLM embeddings, five seeds): the area under the curve of
    p_noisy is .93 on subjectivity, .99 on banking77 and clinc150, and only .78 on sentence polarity, where
    .79, .97, .92 and .37 of the suspects are wrong and .69, .78, .77 and .42 of the wrong ones suspect. The
    plain `mean_loss` ranks better each time (.96, 1.00, 1.00, .81): what p_noisy has over it is a scale of
    its own, without a threshold to look for. Where classes overlap, hard rows are taken for wrong ones.
    Typical probes are drawn at random, wrong ones among them, so that much noise blurs them.

    All columns are null for rows without a label or an embedding of numbers below 1e18, and where there are
    fewer than two labels or 20 rows. One job, which holds all embeddings: 20 bytes a number. Needs
    scikit-learn. ValueError for embeddings of different lengths and for more than 4,096 labels.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"epochs": 3, "seed": 1},
        {"label": "domain", "epochs": 2, "probes": 3, "neighbours": 2, "threshold": 0.4, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str = "label"
    """The column of labels: strings or integers."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Passes over all rows."""
    probes: Annotated[int, Field(ge=1)] = 250
    """Rows of each kind of probe in each training; a tenth of the half, where that is less."""
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many probes a row is compared with."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The p_noisy from which on a row is `suspect`."""
    seed: int | None = None
    """Seed of probes and trainings; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        columns = {self.embedding: Kind.VECTOR, self.label: Kind.LABEL}
        return {"uid": pa.int64(), "key": pa.uint64(), **columns}

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {**dict.fromkeys(_VALUES, pa.float32()), "suspect": pa.bool_()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for n judged rows, ascending by uid: `uid`, `p_typical`, `p_noisy`, `p_odd` and
        `mean_loss` (float32)."""
        uid, key, vectors, names, label = labelled(rows, self.embedding, self.label)
        if len(names) < 2 or len(uid) < 20:
            return {"uid": uid[:0], **{name: np.zeros(0, np.float32) for name in _VALUES}}
        vectors = standardised(vectors)
        half = uniform(self._seed(0), key) < 0.5
        found = np.zeros((len(uid), len(_VALUES)))
        for mine in (half, ~half):
            probes = self._probes(np.flatnonzero(mine), key)
            found[~mine] = self._judged(vectors, label, len(names), key, probes)[~mine]
        order = np.argsort(uid)
        shown = found[order].astype(np.float32)
        return {"uid": uid[order], **{name: shown[:, i] for i, name in enumerate(_VALUES)}}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        uid, known = np.asarray(batch.column("uid")), state["uid"]
        place, there = places(uid, known)
        out = {name: pa.array(at(state[name], place), pa.float32(), mask=~there) for name in _VALUES}
        suspect = at(state["p_noisy"], place) >= np.float32(self.threshold)
        return {**out, "suspect": pa.array(suspect, pa.bool_(), mask=~there)}

    def tell(self, state: Artifact) -> str:
        n = len(state["uid"])
        if not n:
            return "nothing to judge: it takes 20 rows with two labels"
        suspect = int((state["p_noisy"] >= np.float32(self.threshold)).sum())
        return f"{suspect:,} of {n:,} labels are suspect ({suspect / n:.1%})"

    def _seed(self, number: int) -> int:
        return ((self.seed or 0) ^ _STREAM) + number * 0x9E3779B97F4A7C15

    def _probes(self, rows: Int64s, key: UInt64s) -> _Probes:
        """Probes of each kind out of these rows, the first by (seed, key)."""
        count = max(1, min(self.probes, len(rows) // 10))
        drawn = rows[np.argsort(uniform(self._seed(1), key[rows]), kind="stable")]
        return _Probes(drawn[:count], drawn[count : 2 * count], drawn[2 * count : 3 * count])

    def _judged(
        self, vectors: Float32s, label: Int64s, classes: int, key: UInt64s, probes: _Probes
    ) -> Float64s:
        """(n, 4) the shares of the kinds among each row's neighbours, and its mean loss."""
        label, vectors = label.copy(), vectors.copy()
        share = uniform(self._seed(2), key[probes.noisy])
        label[probes.noisy] = other_label(label[probes.noisy], share, classes)
        vectors[probes.odd] = _noise(self._seed(3), key[probes.odd], vectors.shape[1])
        losses = trajectories(vectors, label, classes, self.epochs, self._seed(4) & 0xFFFFFFFF)
        parts = (probes.typical, probes.noisy, probes.odd)
        kind = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        near = top_k(losses, losses[np.concatenate(parts)], self.neighbours, "l2").index
        found = [((kind[near] == i) & (near >= 0)).sum(axis=1) for i in range(len(parts))]
        return np.stack([*(one / (near >= 0).sum(axis=1) for one in found), losses.mean(axis=1)], axis=1)


@dataclass(frozen=True)
class _Probes:
    """Which rows are probes of what."""

    typical: Int64s
    noisy: Int64s
    odd: Int64s


def _noise(seed: int, key: UInt64s, dimensions: int) -> Float32s:
    """(m, d) standard normal numbers, functions of (seed, place, key), by Box & Muller (1958)."""
    step = 0xD1B54A32D192ED03
    radius = np.stack([uniform(seed + (2 * i) * step, key) for i in range(dimensions)], axis=1)
    angle = np.stack([uniform(seed + (2 * i + 1) * step, key) for i in range(dimensions)], axis=1)
    return (np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)).astype(np.float32)
