"""Texts to embeddings: truncated as the model wants it, or in windows whose vectors are averaged.

Legend: n texts, m of them with tokens, D numbers in a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.kernels.encoders import Encoder, Float32s, vectors
from gpu_ops.kernels.packing import Int64s
from gpu_ops.kernels.tokens import Ids, all_ids, first_ids
from operators.kernels.lists import listed


@dataclass
class Embedder:
    """An encoder and how it is used. prompt: text put before each document, or before each window."""

    encoder: Encoder
    prompt: str
    windows: bool


@dataclass(frozen=True)
class Embeddings:
    """rows: (m,) the texts that have a vector, ascending. vectors: (m, D). tokens, truncated: (n,)."""

    rows: Int64s
    vectors: Float32s
    tokens: Int64s
    truncated: npt.NDArray[np.bool_]

    def lists(self) -> pa.Array:
        """(n,) list<float>, null where there is no vector."""
        lengths = np.zeros(len(self.tokens), np.int64)
        lengths[self.rows] = self.vectors.shape[1]
        made = listed(lengths, self.vectors.reshape(-1), pa.float32())
        return pa.ListArray.from_arrays(made.offsets, made.values, mask=pa.array(lengths == 0))


@dataclass(frozen=True)
class Pieces:
    """Per text the tokens of its windows (none where it has no token), and whether some were left out."""

    windows: list[list[Ids]]
    truncated: npt.NDArray[np.bool_]


def embed(model: Embedder, texts: Pieces, dimensions: int | None, normalise: bool) -> Embeddings:
    """The embedding of every text that has a token. ValueError for more `dimensions` than there are."""
    pieces, n = texts.windows, len(texts.windows)
    owner = np.repeat(np.arange(n), [len(piece) for piece in pieces])
    sizes = np.array([len(ids) for piece in pieces for ids in piece], np.int64)
    made = vectors(model.encoder, [model.encoder.sequence(ids) for piece in pieces for ids in piece])
    rows, starts = np.unique(owner, return_index=True)
    tokens = np.bincount(owner, sizes, n).astype(np.int64)
    if len(rows) < len(owner):
        weighted = np.add.reduceat(made.astype(np.float64) * sizes[:, None], starts)
        made = (weighted / tokens[rows, None]).astype(np.float32)
    if dimensions is not None and len(rows):
        if dimensions > made.shape[1]:
            raise ValueError(f"dimensions is {dimensions}, but the model's embeddings have {made.shape[1]}")
        made = made[:, :dimensions]
    if normalise:
        made = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    return Embeddings(rows, made, tokens, texts.truncated)


def tokenised(model: Embedder, texts: Sequence[str]) -> Pieces:
    """The windows of every text. ValueError for a prefix that leaves no room for text."""
    encoder = model.encoder
    texts = ["" if text.isspace() else text for text in texts]
    if not model.windows:
        joined = [model.prompt + text if text else "" for text in texts]
        found = first_ids(encoder.tokenizer, joined, encoder.room)
        pieces = [[ids] if len(ids) else [] for ids, _ in found]
        return Pieces(pieces, np.array([more for _, more in found], bool))
    prompt = all_ids(encoder.tokenizer, [model.prompt])[0]
    room = encoder.room - len(prompt)
    if room < 1:
        raise ValueError(
            f"the prefix has {len(prompt)} tokens, which leaves no room for text in windows of "
            f"{encoder.window}; raise max_tokens or shorten it"
        )
    pieces = [
        [np.concatenate([prompt, ids[start : start + room]]) for start in range(0, len(ids), room)]
        for ids in all_ids(encoder.tokenizer, texts)
    ]
    return Pieces(pieces, np.zeros(len(texts), bool))
