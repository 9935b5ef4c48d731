"""The rows that a selector chooses from, gathered from all batches, with their vectors on disk if need be.

Legend: n rows of the pool, d numbers in a vector.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.kernels.linear import usable
from operators.kernels.counter import UInt64s
from operators.kernels.grouping import Names, check_groups, group_codes
from operators.kernels.room import within
from operators.quantiles import number_column

Bools = npt.NDArray[np.bool_]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

# Bytes of one column's vectors, at most a quarter of the budget, from which on they are in a temporary file.
IN_MEMORY = 1 << 29


@dataclass(frozen=True)
class Wanted:
    """The columns to gather: vectors of floats, numbers, and labels (strings, integers or booleans).

    distributions: which of the vectors are probabilities, and of how many distributions one after the other.
    They are divided by their sums; rows with a negative one, or with zeros alone, lack that vector."""

    vectors: Sequence[str] = ()
    numbers: Sequence[str] = ()
    labels: Sequence[str] = ()
    labelled: str | None = None  # says which rows were chosen before: true, or not null
    distributions: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The columns, once each."""
        named = [*self.vectors, *self.numbers, *self.labels, *([self.labelled] if self.labelled else [])]
        return list(dict.fromkeys(named))


@dataclass(frozen=True)
class Labels:
    """names: (G,) ascending, as in `kernels/grouping`: b"" stands for null. code: (n,) places in them."""

    names: Names
    code: Int64s


@dataclass(frozen=True)
class Pool:
    """The rows that have every vector and a finite value of every number that is wanted, by uid.

    uid, key: (n,). taken: (n,) who was chosen before. vectors: column -> (n, d) float32, numbers below 1e18;
    an array, or a memory map of a temporary file, which holds float16 where the column does: turn what you
    read of it into wider floats before you multiply (`let_go` of what you have read). numbers: column ->
    (n,). labels: column -> names and codes.
    """

    uid: Int64s
    key: UInt64s
    taken: Bools
    vectors: Mapping[str, Float32s]
    numbers: Mapping[str, Float64s]
    labels: Mapping[str, Labels]

    def __len__(self) -> int:
        return len(self.uid)

    def wide(self, name: str, rows: Int64s) -> Float32s:
        """(m, d) the vectors of these rows, in memory."""
        return np.asarray(self.vectors[name][rows], np.float32)

    def at(self, rows: Int64s) -> Pool:
        """The pool of these rows, in memory."""
        return Pool(
            self.uid[rows],
            self.key[rows],
            self.taken[rows],
            {name: self.wide(name, rows) for name in self.vectors},
            {name: x[rows] for name, x in self.numbers.items()},
            {name: Labels(x.names, x.code[rows]) for name, x in self.labels.items()},
        )


def gather(rows: Iterable[pa.RecordBatch], wanted: Wanted) -> tuple[Pool, Int64s, Int64s]:
    """The pool; the uids, ascending, of the rows that lack a vector or a number; and of those among all
    rows that were chosen before.

    Batches hold `uid`, `key` and the wanted columns, in the order of uids. Memory: 25 bytes a row, 8 for
    each number and label; up to 1 GiB for the vectors of a column: from 512 MiB or a quarter of the memory
    budget on they are in the folder for temporary files (TMPDIR), 2 or 4 bytes for each number. ValueError
    for vectors of different lengths, with the uid.
    """
    parts: list[tuple[Int64s, UInt64s, Bools]] = []
    vectors = {name: _Vectors() for name in wanted.vectors}
    numbers: dict[str, list[Float64s]] = {name: [] for name in wanted.numbers}
    labels = {name: _Labels() for name in wanted.labels}
    apart, before = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in rows:
        uid = np.asarray(batch.column("uid"))
        taken = _taken(batch, wanted.labelled)
        before.append(uid[taken])
        values = {name: number_column(batch.column(name)) for name in wanted.numbers}
        have = np.logical_and.reduce([np.isfinite(x) for x in values.values()], initial=True)
        have = np.broadcast_to(have, len(uid)).copy()
        found = {name: usable(batch.column(name), uid, vectors[name].width) for name in wanted.vectors}
        for name, count in wanted.distributions.items():
            found[name] = _distributions(name, *found[name], uid, count)
        for place, _ in found.values():
            with_it = np.zeros(len(uid), bool)
            with_it[place] = True
            have &= with_it
        for name, (place, x) in found.items():
            half = batch.column(name).type.value_type == pa.float16()
            vectors[name].add(x[have[place]], half and name not in wanted.distributions)
        for name, number in values.items():
            numbers[name].append(number[have])
        for name, some in labels.items():
            some.add(batch.column(name), have)
        apart.append(uid[~have])
        parts.append((uid[have], np.asarray(batch.column("key"))[have], taken[have]))
    parts.append((np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, bool)))
    uids, keys, before_too = (np.concatenate(some) for some in zip(*parts, strict=True))
    pool = Pool(
        uids,
        keys,
        before_too,
        {name: x.array() for name, x in vectors.items()},
        {name: np.concatenate([np.zeros(0), *x]) for name, x in numbers.items()},
        {name: x.labels() for name, x in labels.items()},
    )
    return pool, np.concatenate(apart), np.concatenate(before)


def _distributions(name: str, place: Int64s, x: Float32s, uid: Int64s, count: int) -> tuple[Int64s, Float32s]:
    """Those of the rows (m,) whose vectors (m, d) are so many distributions, and the distributions."""
    if len(x) and x.shape[1] % count:
        raise ValueError(
            f"{name} has {x.shape[1]} numbers at uid {uid[place[0]]}, which are not {count} distributions: "
            "say how many there are"
        )
    parts = x.astype(np.float64).reshape(len(x), count, x.shape[1] // count)
    sums = parts.sum(axis=2, keepdims=True)
    known = (parts >= 0).all(axis=(1, 2)) & (sums > 0).all(axis=(1, 2))
    shares = parts[known] / sums[known]
    return place[known], shares.reshape(len(shares), x.shape[1]).astype(np.float32)


def _taken(batch: pa.RecordBatch, labelled: str | None) -> Bools:
    """(rows,) whether a row was chosen before: true, or a value of another type that is not null."""
    if labelled is None:
        return np.zeros(batch.num_rows, bool)
    column = batch.column(labelled)
    told = column.fill_null(False) if pa.types.is_boolean(column.type) else column.is_valid()
    return np.asarray(told.to_numpy(zero_copy_only=False), bool)


@dataclass
class _Vectors:
    """One column's vectors as they come."""

    width: int = 0
    rows: int = 0
    parts: list[Float32s] = field(default_factory=list)
    file: Any = None
    kind: type[np.floating[Any]] = np.float32  # of the numbers in the file

    def add(self, x: Float32s, half: bool) -> None:
        if not len(x):
            return
        self.width, self.rows = x.shape[1], self.rows + len(x)
        if self.file is None and 4 * self.width * self.rows > within(IN_MEMORY, 4):
            self.file = tempfile.TemporaryFile(prefix="tamis-vectors-")  # noqa: SIM115 - `array` closes it
            self.kind = np.float16 if half else np.float32
            for part in self.parts:
                self.file.write(np.ascontiguousarray(part, self.kind))
            self.parts = []
        if self.file is None:
            self.parts.append(x)
        else:
            self.file.write(np.ascontiguousarray(x, self.kind))

    def array(self) -> Float32s:
        if self.file is None:
            return np.concatenate(self.parts) if self.parts else np.zeros((0, 1), np.float32)
        with self.file as file:
            file.flush()
            return np.memmap(file, self.kind, "r", shape=(self.rows, self.width))


@dataclass
class _Labels:
    """One column's labels as they come, by names in the order in which they were seen."""

    seen: dict[bytes, int] = field(default_factory=dict)
    parts: list[Int64s] = field(default_factory=list)

    def add(self, column: pa.Array, have: Bools) -> None:
        names, codes = group_codes(column, len(column))
        codes = codes[have]
        place = np.array([self.seen.setdefault(name, len(self.seen)) for name in names.tolist()], np.int64)
        check_groups(len(self.seen))
        self.parts.append(place[codes] if len(codes) else codes)

    def labels(self) -> Labels:
        code = np.concatenate([np.zeros(0, np.int64), *self.parts])
        present = np.unique(code)
        names = np.array(list(self.seen), "S")[present] if len(present) else np.zeros(0, "S1")
        order = np.argsort(names)
        place = np.zeros(len(self.seen), np.int64)
        place[present[order]] = np.arange(len(order))
        return Labels(names[order], place[code])
