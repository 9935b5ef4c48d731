"""Texts to the log-probabilities of a sequence classifier, also under dropout.

Legend: n texts, m of them with a token, K classes, T passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpu_ops.kernels.encoders import Encoder, vectors
from gpu_ops.kernels.keyed_dropout import Noise
from gpu_ops.kernels.packing import Int64s
from gpu_ops.kernels.tokens import Ids, first_ids
from gpu_ops.kernels.uncertainty import Float64s, log_softmax
from operators.kernels.counter import UInt64s, random_bits
from operators.kernels.grouping import group_codes, show_name

_STREAM = 0x62616C64  # keeps apart from other operators that share a seed


@dataclass
class Classifier:
    """plain: the classifier without dropout. noisy: one with it, and what its masks depend on, if wanted."""

    plain: Encoder
    noisy: tuple[Encoder, Noise] | None = None


def sequences(encoder: Encoder, texts: Sequence[str]) -> tuple[Int64s, list[Ids]]:
    """The texts that have a token (m,) and their inputs, truncated to the model's longest."""
    found = first_ids(encoder.tokenizer, ["" if text.isspace() else text for text in texts], encoder.room)
    rows = np.array([i for i, (ids, _) in enumerate(found) if len(ids)], np.int64)
    return rows, [encoder.sequence(found[i][0]) for i in rows]


def log_probabilities(encoder: Encoder, inputs: Sequence[Ids]) -> Float64s:
    """(m, K) in nats."""
    return log_softmax(vectors(encoder, inputs)) if inputs else np.zeros((0, len(encoder.labels)))


def noisy_passes(
    noisy: tuple[Encoder, Noise], inputs: Sequence[Ids], key: UInt64s, seed: int, passes: int
) -> Float64s:
    """(T, m, K) log-probabilities under dropout that depends on (seed, key, pass) alone. key: (m,)."""
    encoder, noise = noisy
    luck = random_bits(seed ^ _STREAM, key)

    def prepare(pack: Int64s) -> None:
        noise.rows = luck[pack]

    found = np.zeros((passes, len(inputs), len(encoder.labels)))
    for number in range(passes) if inputs else ():
        noise.number = number
        found[number] = log_softmax(vectors(encoder, inputs, prepare))
    return found


def gold(column: pa.Array, names: Sequence[str], no_label: Sequence[str | int], what: str) -> Int64s:
    """(n,) the class of each row: by its name or, for integers, its number; -1 for null and `no_label`.

    ValueError, with the value, for a label that is no class."""
    known: dict[str, int] = {name: i for i, name in enumerate(names)}
    if pa.types.is_integer(column.type):
        known = {str(i): i for i in range(len(names))}
    known |= {str(value): -1 for value in no_label}
    found, codes = group_codes(column, len(column))
    places: list[int] = []
    for name in found.tolist():
        label = name[:-1].decode("utf-8", "replace")
        if name and label not in known:
            raise ValueError(
                f"{what} has the label {show_name(name)}, which is no class of the model; it has "
                f"{', '.join(repr(one) for one in names[:9])}{', ...' if len(names) > 9 else ''} (numbers 0 "
                f"to {len(names) - 1}). Name the values that mean 'none' in `no_label`, or rename the labels"
            )
        places.append(known[label] if name else -1)
    return np.array(places, np.int64)[codes] if len(column) else np.zeros(0, np.int64)
