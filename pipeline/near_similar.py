"""The indexed documents that are nearest to one text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.kernels.minhash import permutation_factors, sign
from operators.kernels.near_index import Index
from operators.kernels.overlaps import similarity
from operators.kernels.shingles import shingle_lists
from operators.minhash_signature import MinhashSignature
from pipeline.errors import ConfigError
from pipeline.near_index import signature_from


@dataclass(frozen=True)
class Near:
    """An indexed document and its Jaccard index with the text."""

    similarity: float
    id: str
    source: str
    head: str


def similar_documents(index: Index, text: str, top: int, threshold: float) -> list[Near]:
    """At most `top` documents with a Jaccard index of at least `threshold`, the nearest first.

    Those that share a band with the text are compared, all of them exactly: at the index's own
    threshold nearly all are found, far below it few (see the S-curve of `tamis plan`)."""
    if not index.parts:
        return []
    signature = signature_from(index.parts[0], index.parts[0].data)
    if signature.unit == "tokens":
        raise ConfigError(
            "this index compares token ids, which a text has not: look up by text is not possible"
        )
    texts = pa.array([text], pa.large_string())
    bands, bytes_, shingles = signed(signature, texts)
    rows = np.flatnonzero(shingles > 0)
    row, reference = index.candidates(bands, bytes_, rows, needed=0)
    offsets, hashes = shingle_lists(texts, signature.shingling())
    both, size = index.shared(offsets, hashes, row, reference)
    near = similarity(both, np.diff(offsets)[row], size, "jaccard")
    order = np.lexsort([index.order(reference), -near])[:top]
    order = order[near[order] >= threshold]
    names = index.names(reference[order])
    return [Near(float(s), *found) for s, *found in zip(near[order], *names, strict=True)]


def signed(signature: MinhashSignature, texts: pa.Array) -> Any:
    """(band keys, signatures, numbers of n-grams) of texts."""
    factors = permutation_factors(signature.seed, signature.permutations)
    found = sign(texts, signature.shingling(), bands=signature.bands, rows=signature.rows, factors=factors)
    return found[0], found[1], found[3]
