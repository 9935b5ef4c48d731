"""What a task sees of one shard: which rows are alive before a node, and the values of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels.counter import mix64
from operators.kernels.cuts import apply_cuts
from pipeline.errors import DataError
from pipeline.manifest import Manifest, Shard
from pipeline.reader import read_rows
from pipeline.store import Store, key_of

Rows = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """Where an operator's column comes from: the source, the position, or another node's output."""

    origin: str  # "source" | "uid" | "key" | "node"
    name: str  # the column's name there
    node: str = ""
    key: str = ""
    positional: bool = False
    dtype: pa.DataType | None = None
    edits: tuple[Column, ...] = ()  # of a text: the `cuts` of the nodes above, in the order to apply

    def identity(self) -> str:
        plain = f"{self.origin}:{self.key}:{self.name}"
        return "|".join([plain, *(edit.identity() for edit in self.edits)])

    @property
    def nodes(self) -> set[str]:
        """The nodes whose output is needed for it."""
        own = {self.node} if self.origin == "node" else set()
        return own.union(*(edit.nodes for edit in self.edits))


@dataclass(frozen=True)
class Alive:
    """Which rows are alive: a tree of the sources, dropping nodes and joins above a node."""

    kind: str  # "source" | "drop" | "all" | "any"; "dropped": what the drop below took out
    name: str = ""  # source name, or the dropping node's name
    key: str = ""
    positional: bool = False
    below: tuple[Alive, ...] = ()

    def identity(self) -> str:
        return key_of(
            self.kind, self.name if self.kind == "source" else self.key, [b.identity() for b in self.below]
        )

    def sources(self, known: frozenset[str]) -> frozenset[str]:
        """The sources whose rows can be alive here."""
        if self.kind == "source":
            return known if self.name == "*" else frozenset([self.name])
        found = [branch.sources(known) for branch in self.below]
        return frozenset.union(*found) if self.kind == "any" else frozenset.intersection(*found)

    def drops(self) -> list[Alive]:
        """Every dropping node in the tree, once, sources first."""
        found: dict[str, Alive] = {}
        for branch in self.below:
            found |= {d.key: d for d in branch.drops()}
        if self.kind == "drop":
            found[self.key] = self
        return list(found.values())


def join(branches: Sequence[Alive], how: str) -> Alive:
    """The rows alive in all (or any) of the branches."""
    distinct = list(dict.fromkeys(branches))
    return distinct[0] if len(distinct) == 1 else Alive(how, below=tuple(distinct))


class ShardView:
    """One shard of one source, with the node outputs that the store has for it."""

    def __init__(self, store: Store, manifest: Manifest, index: int) -> None:
        self.store, self.manifest = store, manifest
        self.shard: Shard = manifest.shards[index]
        self._tables: dict[tuple[str, bool], pa.Table] = {}
        self._rows: dict[tuple[str, bool], Rows] = {}
        self._alive: dict[Alive, Mask] = {}

    def folder(self, key: str, positional: bool) -> str:
        """Where a node keeps its fragments for this shard. Values that depend on the position must
        not be found again when the same rows stand elsewhere in another manifest."""
        place = f"{self.shard.id}@{self.shard.base}" if positional else self.shard.id
        return f"nodes/{key}/{place}"

    def records(self, key: str, positional: bool) -> list[dict[str, object]]:
        """The committed fragments of a node, in order of their first row."""
        names = self.store.list(self.folder(key, positional))
        found = (self.store.record(name) for name in names if name.endswith(".json"))
        return [record for record in found if record is not None]

    def table(self, key: str, positional: bool) -> pa.Table:
        """All rows that a node has computed, by row, a chunk a fragment; a row that two attempts computed
        counts once, from the fragment that begins first."""
        if (key, positional) not in self._tables:
            folder = self.folder(key, positional)
            parts = [
                self.store.open_arrow(f"{folder}/{record['file']}").read_all()
                for record in self.records(key, positional)
            ]
            self._tables[key, positional] = (
                _union(parts) if parts else pa.table({"row": pa.array([], pa.uint32())})
            )
        return self._tables[key, positional]

    def rows_of(self, key: str, positional: bool) -> Rows:
        """The rows that a node has computed, ascending."""
        if (key, positional) not in self._rows:
            self._rows[key, positional] = _rows_of(self.table(key, positional))
        return self._rows[key, positional]

    def forget(self, key: str, positional: bool) -> None:
        """Look again: a fragment was committed."""
        self._tables.pop((key, positional), None)
        self._rows.pop((key, positional), None)
        self._alive.clear()

    def unmap(self) -> None:
        """Let go of the columns that were read; they are opened again when they are needed."""
        self._tables.clear()

    def covered(self, key: str, positional: bool) -> Mask:
        """Which rows a node has computed."""
        mask = np.zeros(self.shard.rows, dtype=bool)
        mask[self.rows_of(key, positional)] = True
        return mask

    def alive(self, tree: Alive) -> Mask:
        """Which rows are alive there; not to be written to."""
        if tree not in self._alive:
            self._alive[tree] = self._masked(tree)
        return self._alive[tree]

    def _masked(self, tree: Alive) -> Mask:
        if tree.kind == "source":
            wanted = tree.name in ("*", self.shard.source)
            return np.full(self.shard.rows, wanted, dtype=bool)
        if tree.kind == "dropped":
            (drop,) = tree.below
            return self.alive(drop.below[0]) & ~self.alive(drop)
        masks = [self.alive(branch) for branch in tree.below]
        if tree.kind == "any":
            return np.asarray(np.logical_or.reduce(masks))
        mask = np.asarray(np.logical_and.reduce(masks)).copy()
        if tree.kind == "drop":
            mask &= ~self.dropped(tree, mask)
        return mask

    def dropped(self, tree: Alive, entered: Mask) -> Mask:
        """Which rows the dropping node at the top of the tree takes out of those that entered it."""
        table, rows = self.table(tree.key, tree.positional), self.rows_of(tree.key, tree.positional)
        out = np.zeros(self.shard.rows, dtype=bool)
        known = np.zeros(self.shard.rows, dtype=bool)
        known[rows] = True
        if (missing := entered & ~known).any():
            row = int(np.flatnonzero(missing)[0])
            raise DataError(f"{tree.name} has no verdict for {self.place(row)}: run it again")
        if "drop" in table.column_names:
            out[rows] = whole(pc.is_valid(table["drop"])).to_numpy(zero_copy_only=False)
        return out & entered

    def place(self, row: int) -> str:
        """`file:row` of a row of this shard, for messages."""
        for piece in self.shard.pieces:
            if row < piece.rows:
                return f"{self.manifest.files[piece.file].path}:row {piece.first_row + row}"
            row -= piece.rows
        return f"shard {self.shard.index}:row {row}"

    def values(self, column: Column, rows: Rows) -> pa.Array:
        """A stored column at the given rows, which must have been computed."""
        if not len(rows):
            return pa.array([], column.dtype)
        table, have = self.table(column.key, column.positional), self.rows_of(column.key, column.positional)
        first = int(np.searchsorted(have, rows[0]))
        if np.array_equal(have[first : first + len(rows)], rows):
            return whole(table[column.name].slice(first, len(rows)))
        at = np.searchsorted(have, rows)
        if len(have) == 0 or at[-1] >= len(have) or not np.array_equal(have[at], rows):
            bad = int(rows[~np.isin(rows, have)][0])
            raise DataError(
                f"{column.node}.{column.name} has no value for {self.place(bad)}, which is alive here: "
                f"the row was dropped on the branch of {column.node}; join the branches with `join: all`"
            )
        return _taken(table[column.name], at)

    def source_columns(self, columns: Mapping[str, Column]) -> set[str]:
        """The source's columns that these need."""
        ids = {"id" for c in columns.values() if c.origin == "key" and c.name}
        return {c.name for c in columns.values() if c.origin == "source"} | ids

    def read(
        self, source: set[str], rows: Rows, batch_rows: int, batch_bytes: int | None = None
    ) -> Iterator[tuple[Rows, pa.RecordBatch | None]]:
        """The given rows in order, a batch at a time (see read_rows); without source columns nothing is
        read."""
        if source:
            yield from read_rows(self.manifest, self.shard, sorted(source), rows, batch_rows, batch_bytes)
            return
        for start in range(0, len(rows), batch_rows):
            yield rows[start : start + batch_rows], None

    def assemble(
        self, columns: Mapping[str, Column], rows: Rows, read: pa.RecordBatch | None
    ) -> pa.RecordBatch:
        """These rows' columns under their read names; the uid alone where nothing is read."""
        arrays = {name: self._array(column, rows, read) for name, column in columns.items()}
        return pa.RecordBatch.from_pydict(arrays or {"uid": self._uid(rows)})

    def _uid(self, rows: Rows) -> pa.Array:
        return pa.array(rows.astype(np.int64) + self.shard.base)

    def _array(self, column: Column, rows: Rows, read: pa.RecordBatch | None) -> pa.Array:
        match column.origin:
            case "uid":
                return self._uid(rows)
            case "key":
                return self._key(column, rows, read)
            case "node":
                return self.values(column, rows)
            case _:
                plain = pa.array([], column.dtype) if read is None else read.column(column.name)
                return self.edited(plain, column.edits, rows)

    def edited(self, texts: pa.Array, edits: Sequence[Column], rows: Rows) -> pa.Array:
        """The texts of these rows after the cuts of the nodes above, one node's after the other's; a row
        that an editing node never saw (it came by another branch) has none of its cuts."""
        for edit in edits:
            table, have = self.table(edit.key, edit.positional), self.rows_of(edit.key, edit.positional)
            at = np.minimum(np.searchsorted(have, rows), max(len(have) - 1, 0))
            seen = have[at] == rows if len(have) else np.zeros(len(rows), bool)
            cuts = _taken(table[edit.name], at, seen)
            try:
                texts = apply_cuts(texts, cuts)
            except ValueError as error:
                raise DataError(
                    f"{edit.node}: in the batch from {self.place(int(rows[0]))}: {error}"
                ) from error
        return texts

    def _key(self, column: Column, rows: Rows, read: pa.RecordBatch | None) -> pa.Array:
        if not column.name:
            return pa.array(mix64((rows.astype(np.int64) + self.shard.base).astype(np.uint64)))
        if read is None:
            return pa.array([], pa.uint64())
        from operators.kernels.hash128 import hash_text

        ids = read.column("id")
        if ids.null_count:
            row = int(rows[int(pc.index(ids.is_null(), True).as_py())])
            raise DataError(
                f"{self.place(row)}: the id is null; ids key all randomness, so every row needs one"
            )
        return pa.array(hash_text(pc.cast(ids, pa.large_string()))[0])


def whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece; `combine_chunks` copies it even where it is."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _taken(column: pa.ChunkedArray, at: npt.NDArray[np.int64], seen: Mask | None = None) -> pa.Array:
    """The values at ascending places, null where `seen` is false; only the chunks between are touched."""
    low, high = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
    return whole(column.slice(low, high - low)).take(pa.array(at - low, mask=None if seen is None else ~seen))


def _rows_of(table: pa.Table) -> Rows:
    return np.asarray(whole(table["row"]).to_numpy(zero_copy_only=False), dtype=np.uint32)


def _union(parts: list[pa.Table]) -> pa.Table:
    """Fragments as one table sorted by row, the first fragment winning."""
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(name for part in parts for name in part.column_names))
    types = {f.name: f.type for part in parts for f in part.schema}
    filled = [
        pa.table({n: part[n] if n in part.column_names else pa.nulls(part.num_rows, types[n]) for n in names})
        for part in parts
    ]
    table = pa.concat_tables(filled).unify_dictionaries()
    rows = _rows_of(table)
    if (rows[1:] > rows[:-1]).all():  # as fragments lie but after attempts that knew of different rows
        return table
    return table.combine_chunks().take(pa.array(np.unique(rows, return_index=True)[1]))
