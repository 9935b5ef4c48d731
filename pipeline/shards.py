"""The record of an ordered source: its files, and the shards that its rows are cut into."""

from __future__ import annotations

import base64
import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.store import key_of, sealed, unsealed

SMALLEST, LARGEST, WANTED_SHARDS = 32_000_000, 256_000_000, 64
MOST_ROWS = 1 << 18  # of more than one unit: what a task holds beside the text grows with the rows

Json = str | bytes


@dataclass(frozen=True)
class Settings:
    """How a source is read: which column is the text (none: ""), which the id, types by column name."""

    text: str = "text"
    id: str | None = None
    schema: tuple[tuple[str, str], ...] = ()
    shard_bytes: int | None = None

    def reading(self) -> list[Any]:
        """The part that changes what a column holds, hence part of a shard's identity."""
        return [self.text, self.id, sorted(self.schema)]


@dataclass(frozen=True)
class Part:
    """A Parquet or Arrow file that is read: a source file itself, or what it was converted to.

    footer: its size and footer hash; units: its row groups or record batches.
    """

    path: str
    footer: str
    units: int
    rows: int


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. name: its path relative to the config's folder, or its URL; path: where
    it lies now; format: of the file itself; parts: what is read instead of or as it."""

    source: str
    name: str
    path: str
    bytes: int
    fingerprint: str
    rows: int
    format: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Piece:
    """Consecutive units (row groups, record batches; counted through the parts) of one file.

    first_row: the row of the file with which the piece begins.
    """

    file: int
    units: tuple[int, ...]
    first_row: int
    rows: int


@dataclass(frozen=True)
class Shard:
    """A list of pieces of one source. id: hash of content and ranges; base: uid of its first row;
    bytes: uncompressed."""

    index: int
    id: str
    source: str
    base: int
    rows: int
    bytes: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Unit:
    """The smallest thing that is read at once: a row group or a record batch."""

    file: int
    unit: int
    first_row: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Files and shards in order, and for each source its settings and the schema of its columns as
    operators see them (the text as `text`, the id as `id` too, strings as large_string)."""

    files: tuple[SourceFile, ...]
    shards: tuple[Shard, ...]
    settings: Mapping[str, Settings]
    schemas: Mapping[str, pa.Schema]

    @property
    def rows(self) -> int:
        return self.shards[-1].base + self.shards[-1].rows if self.shards else 0

    @property
    def bytes(self) -> int:
        """Bytes of the files as they lie there."""
        return sum(file.bytes for file in self.files)

    def identity(self) -> str:
        """A hash of what the rows are, in which order, cut into which shards."""
        settings = {name: s.reading() for name, s in self.settings.items()}
        return key_of("manifest", [(s.id, s.source, s.rows) for s in self.shards], settings)

    def locate(self, uid: int) -> tuple[Shard, int]:
        """The shard of a document and its row there; IndexError when there is no such uid."""
        if not 0 <= uid < self.rows:
            raise IndexError(f"there is no uid {uid}: the source has {self.rows} rows")
        shard = self.shards[bisect.bisect_right(self.shards, uid, key=lambda s: s.base) - 1]
        return shard, uid - shard.base

    def to_json(self) -> str:
        record = asdict(self) | {
            "settings": {name: asdict(s) for name, s in self.settings.items()},
            "schemas": {name: encode_schema(s) for name, s in self.schemas.items()},
        }
        return sealed(record)

    @classmethod
    def from_json(cls, text: Json) -> Manifest:
        """Raises ValueError, KeyError or TypeError when the text is no manifest."""
        record = unsealed(text)
        return cls(
            files=tuple(
                SourceFile(**f | {"parts": tuple(Part(**p) for p in f["parts"])}) for f in record["files"]
            ),
            shards=tuple(Shard(**s | {"pieces": tuple(map(_piece, s["pieces"]))}) for s in record["shards"]),
            settings={
                name: Settings(**s | {"schema": tuple((k, v) for k, v in s["schema"])})
                for name, s in record["settings"].items()
            },
            schemas={name: decode_schema(s) for name, s in record["schemas"].items()},
        )


def _piece(record: dict[str, Any]) -> Piece:
    return Piece(**record | {"units": tuple(record["units"])})


def encode_schema(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def decode_schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(text)))


def wanted_bytes(settings: Settings, total: int) -> int:
    """The size of a shard in uncompressed bytes: as configured, else a 64th of the source within
    32 and 256 MB."""
    return settings.shard_bytes or min(max(total // WANTED_SHARDS, SMALLEST), LARGEST)


def cut(
    files: Sequence[SourceFile],
    runs: Iterable[tuple[str, Sequence[Unit]]],
    settings: Mapping[str, Settings],
    wanted: Mapping[str, int],
    before: Sequence[Shard] = (),
) -> tuple[Shard, ...]:
    """The shards `before`, then new ones: each run (a source and its units in order) is cut where a
    shard would grow over the wanted bytes; a unit is never split."""
    shards = list(before)
    seen = Counter(shard.id.split(".")[0] for shard in before)
    for source, units in runs:
        for group in _groups(units, wanted[source]):
            pieces = _pieces(group)
            content = [(files[p.file].fingerprint, files[p.file].format, _ranges(p.units)) for p in pieces]
            name = key_of("shard", content, settings[source].reading())
            seen[name] += 1
            base = shards[-1].base + shards[-1].rows if shards else 0
            rows, size = sum(u.rows for u in group), sum(u.bytes for u in group)
            unique = name if seen[name] == 1 else f"{name}.{seen[name]}"
            shards.append(Shard(len(shards), unique, source, base, rows, size, pieces))
    return tuple(shards)


def _groups(units: Sequence[Unit], wanted: int) -> Iterable[list[Unit]]:
    group: list[Unit] = []
    size = rows = 0
    for unit in units:
        if not unit.rows:
            continue
        if group and (size + unit.bytes > wanted or rows + unit.rows > MOST_ROWS):
            yield group
            group, size, rows = [], 0, 0
        group.append(unit)
        size, rows = size + unit.bytes, rows + unit.rows
    if group:
        yield group


def _pieces(group: Sequence[Unit]) -> tuple[Piece, ...]:
    by_file: dict[int, list[Unit]] = {}
    for unit in group:
        by_file.setdefault(unit.file, []).append(unit)
    return tuple(
        Piece(file, tuple(u.unit for u in units), units[0].first_row, sum(u.rows for u in units))
        for file, units in by_file.items()
    )


def _ranges(units: Sequence[int]) -> list[list[int]]:
    """Unit numbers as [first, last] runs, so that a name does not grow with the number of units."""
    runs: list[list[int]] = []
    for unit in units:
        if runs and unit == runs[-1][1] + 1:
            runs[-1][1] = unit
        else:
            runs.append([unit, unit])
    return runs
