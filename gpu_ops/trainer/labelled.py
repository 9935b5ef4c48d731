"""Labelled documents: read once, kept as tokens or vectors with labels, in any order without end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from gpu_ops.kernels.tokens import first_ids, strings
from gpu_ops.trainer.batch import Batch, Ints, Vectors
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.documents import columns, data_files, domains_of
from gpu_ops.trainer.files import content_key, write_array, write_json
from gpu_ops.trainer.stream import Vocabulary, epoch_order
from gpu_ops.trainer.token_file import read_tokens, write_tokens


@dataclass(frozen=True)
class Labelled:
    """A folder's labelled documents on disk. path: without suffix; `.json` holds the rest, `.labels.npy` and
    `.domains.npy` (int64 places in the names), and either `.ids` (int32, all tokens) with `.ends.npy`, or
    `.vectors.npy` (float32, a row each).

    labels: names, sorted, `integers` by value. left_out: documents without a label, a token or a vector."""

    key: str
    path: str
    labels: tuple[str, ...]
    integers: bool
    domains: tuple[str, ...]
    rows: int
    left_out: int
    width: int

    @classmethod
    def load(cls, path: str) -> Labelled:
        found = json.loads(Path(f"{path}.json").read_text("utf-8"))
        found |= {name: tuple(found[name]) for name in ("labels", "domains")}
        return cls(path=path, **found)


def classes_of(parts: Iterable[Labelled]) -> tuple[str, ...]:
    """The classes of a comparison: every label of its data, sorted; all integers by value."""
    parts = list(parts)
    names = {name for part in parts for name in part.labels}
    return tuple(sorted(names, key=int) if all(part.integers for part in parts) else sorted(names))


def read_labelled(folder: str, config: TrainConfig, vocabulary: Vocabulary | None, cache: Path) -> Labelled:
    """Reads a folder's labelled documents once, texts with `vocabulary`, cut after `seq_len` tokens.

    A tokenizer's own special tokens stand around a text; one that has none puts them as for language
    modelling. ValueError, with file and row, for labels that are neither strings nor integers, vectors of
    another length or with numbers that are not finite, and when nothing has a label."""
    what = f"{config.label} {config.features} {vocabulary and (vocabulary.key, config.seq_len)}"
    key = content_key(data_files(folder), what)
    path = cache / f"labelled-{key}"
    if not path.with_suffix(".json").exists():
        _write(path, key, _collected(folder, config, vocabulary))
    return Labelled.load(str(path))


@dataclass
class _Found:
    labels: list[str | int] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    left_out: int = 0


def _collected(folder: str, config: TrainConfig, vocabulary: Vocabulary | None) -> _Found:
    assert config.label is not None  # TrainConfig sees to it
    source = config.features or "text"
    found = _Found()
    for path, first, batch in columns(folder, (source, config.label)):
        where = f"{path}, row {first}"
        labels = _labels(batch.column(config.label), f"{where} on: label {config.label!r}")
        if vocabulary is None:
            inputs: Sequence[Any] = _vectors(batch.column(source), path, first, source, found)
        else:
            texts = strings(batch.column(source).cast(pa.large_string()))
            inputs = list(_sequences(texts, vocabulary, config.seq_len))
        for label, domain, one in zip(labels, domains_of(batch), inputs, strict=True):
            if label is None or one is None:
                found.left_out += 1
                continue
            found.labels.append(label)
            found.domains.append(domain)
            found.inputs.append(one)
    if not found.labels:
        raise ValueError(
            f"{folder}: none of its {found.left_out} documents has both {source!r} and a {config.label!r}; "
            "there is nothing to classify"
        )
    return found


def _labels(column: pa.Array, what: str) -> list[str | int | None]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    known = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not known and not pa.types.is_string_view(kind) and not pa.types.is_null(kind):
        raise ValueError(f"{what} is {kind}; labels are strings or integers")
    values: list[str | int | None] = column.to_pylist()
    return values


def _sequences(texts: list[str], vocabulary: Vocabulary, seq_len: int) -> Iterator[np.ndarray | None]:
    from gpu_ops.kernels.encoders import specials

    before, after = specials(vocabulary.tokenizer)
    if not len(before) + len(after):
        whole = vocabulary.wrap(np.zeros(0, np.int32))
        before, after = (whole, after) if vocabulary.bos is not None else (before, whole)
    room = seq_len - len(before) - len(after)
    if room < 1:
        raise ValueError(f"seq_len {seq_len} leaves no room beside {seq_len - room} special tokens")
    texts = ["" if text.isspace() else text for text in texts]
    for ids, _ in first_ids(vocabulary.tokenizer, texts, room):
        yield np.concatenate([before, ids, after]) if len(ids) else None


def _vectors(column: pa.Array, path: Path, first: int, name: str, found: _Found) -> list[np.ndarray | None]:
    """The rows as vectors, all of the length of the first."""
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists and not pa.types.is_null(kind):
        raise ValueError(f"{path}: features {name!r} is {kind}; needed are lists of numbers")
    made: list[np.ndarray | None] = []
    width = len(found.inputs[0]) if found.inputs else 0
    for number, value in enumerate(column, first):
        if not value.is_valid:
            made.append(None)
            continue
        vector = value.values.to_numpy(zero_copy_only=False).astype(np.float32)
        width = width or len(vector)
        if len(vector) != width or not width:
            raise ValueError(f"{path}, row {number}: {name!r} has {len(vector)} numbers, others {width}")
        if not np.isfinite(vector).all():
            raise ValueError(f"{path}, row {number}: {name!r} holds a number that is not finite")
        made.append(vector)
    return made


def _write(path: Path, key: str, found: _Found) -> None:
    integers = all(isinstance(label, int) for label in found.labels)
    labels, codes = np.unique([str(label) for label in found.labels], return_inverse=True)
    domains, places = np.unique(found.domains, return_inverse=True)
    width = 0
    if found.inputs[0].dtype == np.float32:
        width = len(found.inputs[0])
        write_array(path.with_suffix(".vectors.npy"), np.stack(found.inputs))
    else:
        write_tokens(path, found.inputs)
    write_array(path.with_suffix(".labels.npy"), codes.astype(np.int64))
    write_array(path.with_suffix(".domains.npy"), places.astype(np.int64))
    info = {"key": key, "labels": labels.tolist(), "integers": integers, "domains": domains.tolist()}
    info |= {"rows": len(codes), "left_out": found.left_out, "width": width}
    write_json(path.with_suffix(".json"), info)  # last: it says that the others are there


class Examples:
    """Labelled documents, each a row, a pure function of (seed, place).

    In file order, or with `shuffle` in another order for every (seed, epoch). Rows are padded at their ends
    to the longest of the batch. targets: (R,) places in `classes`. rows: the document's number.
    domains: (N,) places in `data.domains`."""

    unit: Literal["tokens", "rows"] = "rows"

    def __init__(self, path: str, classes: Sequence[str], seed: int = 0, shuffle: bool = False) -> None:
        self.data = Labelled.load(path)
        place = {name: number for number, name in enumerate(classes)}
        self.targets = np.array([place[name] for name in self.data.labels])[np.load(f"{path}.labels.npy")]
        self.domains: Ints = np.load(f"{path}.domains.npy")
        self._vectors: Vectors | None = None
        self.lengths: Ints = np.ones(self.data.rows, np.int64)
        if self.data.width:
            self._vectors = np.load(f"{path}.vectors.npy", mmap_mode="r")
        else:
            self._tokens = read_tokens(path)
            self.lengths = self._tokens.lengths
        self.seed, self.shuffle = seed, shuffle
        self._epoch = -1

    @property
    def size(self) -> int:
        return self.data.rows

    @property
    def corpus_tokens(self) -> int:
        return int(self.lengths.sum())

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """The documents at these places, through as many epochs as it takes."""
        epochs, offsets = np.divmod(np.arange(start, start + rows), self.size)
        parts = [self._numbers(int(epoch))[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
        return self.take(np.concatenate(parts), seq_len)

    def take(self, numbers: Ints, seq_len: int) -> Batch:
        """These documents as a batch, cut after `seq_len` tokens."""
        targets = self.targets[numbers]
        if self._vectors is not None:
            return Batch(np.asarray(self._vectors[numbers]), targets, numbers)
        lengths = np.minimum(self.lengths[numbers], seq_len)
        inputs = np.zeros((len(numbers), int(lengths.max())), np.int64)
        for row, number, length in zip(inputs, numbers, lengths, strict=True):
            row[:length] = self._tokens.document(number)[:length]
        return Batch(inputs, targets, numbers, lengths)

    def _numbers(self, epoch: int) -> Ints:
        if not self.shuffle:
            return np.arange(self.size)
        if self._epoch != epoch:
            self._order, self._epoch = epoch_order(self.size, self.seed, epoch), epoch
        return self._order
