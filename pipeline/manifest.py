"""Taking the inventory of the sources, and fixing it as a manifest that never moves a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from pipeline.errors import ConfigError, DataError
from pipeline.footers import Inspected, inspect
from pipeline.ingest import ConvertTask, converted, peek
from pipeline.listing import CONVERTED, Found, as_list, list_files, look
from pipeline.shards import Manifest, Part, Piece, Settings, Shard, SourceFile, Unit, cut, wanted_bytes
from pipeline.store import Store
from pipeline.unify import TEXT, arrow_type, seen_schema, unify, unknown_declared

__all__ = [
    "Inventory",
    "Manifest",
    "Part",
    "Piece",
    "Settings",
    "Shard",
    "SourceConfig",
    "SourceFile",
    "take_inventory",
]


class SourceConfig(Protocol):
    """What is read of the config's source."""

    @property
    def path(self) -> str | list[str] | tuple[str, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def types(self) -> Mapping[str, str] | None: ...
    @property
    def format(self) -> str: ...
    @property
    def shard_bytes(self) -> int | None: ...


def take_inventory(sources: Mapping[str, SourceConfig], base: Path, store: Store) -> Inventory:
    """Lists the files of every source and takes their fingerprints.

    Raises ConfigError for a pattern that matches nothing or an unknown format or type name, DataError
    for a file that cannot be read.
    """
    settings = {name: _settings(config) for name, config in sources.items()}
    listed = [
        (name, entry, format)
        for name, config in sources.items()
        for entry, format in list_files(_label(name), as_list(config.path), base, config.format)
    ]
    found = _in_threads(lambda item: look(*item, base), listed)
    tasks = {
        t.key: t for t in (ConvertTask.of(f, settings[f.source]) for f in found if f.format in CONVERTED)
    }
    done = _in_threads(lambda task: converted(store, task), list(tasks.values()))
    to_convert = tuple(task for task, known in zip(tasks.values(), done, strict=True) if known is None)
    return Inventory(tuple(found), settings, to_convert)


def _settings(config: SourceConfig) -> Settings:
    schema = tuple((config.types or {}).items())
    for _, name in schema:
        arrow_type(name)
    return Settings(config.text, config.id, schema, config.shard_bytes)


def _label(source: str) -> str:
    return f"sources.{source}" if source else "source"


T = TypeVar("T")
R = TypeVar("R")


def _in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Footers and records are waited for, not computed: 16 at a time, in order."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(16, len(items))) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True)
class Inventory:
    """The files that are there now; `to_convert` must run (ingest.convert) before `manifest`."""

    files: tuple[Found, ...]
    settings: Mapping[str, Settings]
    to_convert: tuple[ConvertTask, ...]

    def schemas(self, store: Store) -> dict[str, pa.Schema]:
        """The columns of every source for a plan: exact, except that of the files that are not
        converted yet the first one of each source is judged by its first block. Raises as `manifest`."""
        waiting = {task.key for task in self.to_convert}
        peeked: set[str] = set()
        known = []
        for file in self.files:
            task = ConvertTask.of(file, self.settings[file.source])
            if task.key not in waiting or file.format not in CONVERTED:
                known.append(file)
            elif file.source not in peeked:
                peeked.add(file.source)
                known.append(file)
        columns = _in_threads(lambda file: (file, self._columns(store, file, waiting)), known)
        return {name: self._unified(name, columns, None) for name in self.settings}

    def _columns(self, store: Store, file: Found, waiting: set[str]) -> pa.Schema:
        task = ConvertTask.of(file, self.settings[file.source])
        if file.format in CONVERTED and task.key in waiting:
            return peek(task)
        return self._inspected(store, file).schema

    def manifest(self, store: Store, previous: Manifest | None) -> Manifest:
        """The manifest: what `previous` has keeps its shards, ids and uids; new files come after it.

        Raises DataError naming every file of `previous` that changed or is gone, and for columns that
        differ between files; ConfigError for a text or id column that is not there.
        """
        if previous is not None:
            self._refuse_changes(previous)
        kept = previous if previous is not None and self._same_settings(previous) else None
        old = [] if previous is None else [(f.source, f.name) for f in previous.files]
        place = {key: number for number, key in enumerate(old)}
        ordered = sorted(self.files, key=lambda f: place.get((f.source, f.name), len(old)))
        fresh = ordered[len(old) :] if kept else ordered
        seen = _in_threads(lambda file: (file, self._inspected(store, file)), fresh)
        columns = [(file, found.schema) for file, found in seen]
        schemas = {name: self._unified(name, columns, kept) for name in self.settings}
        before = [] if kept is None else _moved(kept, store, ordered, self)
        return self._cut(before, seen, schemas, kept)

    def _inspected(self, store: Store, file: Found) -> Inspected:
        if file.format not in CONVERTED:
            return inspect(file.path, file.format)
        done = converted(store, ConvertTask.of(file, self.settings[file.source]))
        if done is None:
            raise DataError(f"{file.path} has not been converted to Parquet; run the conversion first")
        return done

    def _same_settings(self, previous: Manifest) -> bool:
        """Whether the old cuts and names still hold: other settings read other values (a new id), another
        `shard_bytes` cuts anew; the order of the rows, and so every uid, stays."""
        return all(self.settings.get(name) == s for name, s in previous.settings.items())

    def _refuse_changes(self, previous: Manifest) -> None:
        now = {(f.source, f.name): f.fingerprint for f in self.files}
        wrong = []
        for file in previous.files:
            mark = now.get((file.source, file.name))
            if mark != file.fingerprint:
                wrong.append(f"  {file.name} {'is gone' if mark is None else 'changed'}")
        if wrong:
            raise DataError(
                "the source is not what earlier runs read:\n" + "\n".join(wrong) + "\nput the files back, or "
                "accept the source as it is with `--accept-source` (a new manifest: documents get new uids)"
            )

    def _unified(
        self, source: str, files: Sequence[tuple[Found, pa.Schema]], kept: Manifest | None
    ) -> pa.Schema:
        label, settings = _label(source), self.settings[source]
        mine = [(file.name, schema) for file, schema in files if file.source == source and schema.names]
        seen = [(name, seen_schema(label, settings, name, schema)) for name, schema in mine]
        first = next((f.name for f in kept.files if f.source == source and f.rows), None) if kept else None
        if kept is not None and first is not None:
            seen.insert(0, (first, kept.schemas[source]))
        elif unknown := unknown_declared(settings, (n for _, s in mine for n in s.names)) if mine else []:
            raise ConfigError(f"{label}: `schema:` names a column that no file has: {'; '.join(unknown)}")
        return unify(label, seen) if seen else _empty_schema(settings)

    def _cut(
        self,
        before: Sequence[SourceFile],
        seen: Sequence[tuple[Found, Inspected]],
        schemas: dict[str, pa.Schema],
        kept: Manifest | None,
    ) -> Manifest:
        files = list(before)
        units: list[Unit] = []
        for file, found in seen:
            units += _units(len(files), found)
            files.append(_source_file(file, found))
        total = {name: sum(u.bytes for u in units if files[u.file].source == name) for name in schemas}
        if kept is not None:
            for shard in kept.shards:
                total[shard.source] += shard.bytes
        wanted = {name: wanted_bytes(self.settings[name], size) for name, size in total.items()}
        runs = [(source, list(some)) for source, some in groupby(units, key=lambda u: files[u.file].source)]
        shards = cut(files, runs, self.settings, wanted, kept.shards if kept else ())
        return Manifest(tuple(files), shards, dict(self.settings), schemas)


def _empty_schema(settings: Settings) -> pa.Schema:
    """The columns of a source whose files have none."""
    stub = {name: TEXT for name in (settings.text, settings.id) if name}
    return seen_schema("source", settings, "", pa.schema(list(stub.items())))


def _source_file(file: Found, found: Inspected) -> SourceFile:
    rows = sum(part.rows for part in found.parts)
    return SourceFile(
        file.source, file.name, file.path, file.bytes, file.fingerprint, rows, file.format, found.parts
    )


def _units(number: int, found: Inspected) -> Iterable[Unit]:
    first = 0
    for unit, (rows, size) in enumerate(found.units):
        yield Unit(number, unit, first, rows, size)
        first += rows


def _moved(kept: Manifest, store: Store, ordered: Sequence[Found], now: Inventory) -> list[SourceFile]:
    """The files of the old manifest where they lie today: the folder may have moved."""

    def moved(pair: tuple[SourceFile, Found]) -> SourceFile:
        old, new = pair
        if new.format in CONVERTED:
            parts = now._inspected(store, new).parts
        else:
            parts = tuple(replace(part, path=new.path) for part in old.parts)
        return replace(old, path=new.path, parts=parts)

    return _in_threads(moved, list(zip(kept.files, ordered, strict=False)))
