"""From a config to what a run or a plan stands on: the store and the manifest of every source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operators.contract import Operator, Recipe
from pipeline.config import Config, SourceConfig
from pipeline.errors import ConfigError, DataError
from pipeline.graph import Graph
from pipeline.guard import ALL
from pipeline.ingest import ConvertTask
from pipeline.manifest import Inventory, Manifest, take_inventory
from pipeline.nodes import MAIN
from pipeline.reach import reach
from pipeline.store import Store, key_of


@dataclass(frozen=True)
class RunOptions:
    """How to run, never what: none of this enters the identity of a value."""

    engine: str = "local"
    workers: int | None = None
    store: str | None = None
    address: str | None = None
    memory: int | None = None  # bytes for each worker; None: the config's, else what there is
    batch_rows: int | None = None
    device: str = "auto"
    accept_source: bool = False
    command: str = ""  # what was typed, for whoever wants to resume
    redact: bool = False  # show no document in logs and reports
    metrics: str | None = None  # a file for Prometheus' node_exporter
    allow: tuple[str, ...] = ()  # nodes that may drop more of a source than their guard says, or `all`


Convert = Callable[[list[ConvertTask]], None]


def open_store(config: Config, options: RunOptions) -> Store:
    """The store of the options, the config, or `.tamis` beside the config."""
    given = options.store or config.store
    where = "--store" if options.store else f"{config.where('store')}: store"
    if given is None:
        return Store(str(config.base.resolve() / ".tamis"))
    if "://" in given:
        try:
            store = Store(given)
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"{where} {given}: {error}; give a folder or a URL that fsspec knows"
            ) from error
        return reach(store)
    if "\0" in given:
        raise ConfigError(f"{where} {given!r} names no folder")
    folder = Path(given if options.store else config.base / given).resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{where} {given}: {there} is a file, not a folder; name another folder")
    return Store(str(folder))


def check_writable(store: Store) -> None:
    """ConfigError where a run could not put its first file into a local store."""
    if store.is_local:
        folder = Path(store.root)
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"the store {store.url}: {there} cannot be written; give another with --store")


def manifests(config: Config, store: Store, options: RunOptions, convert: Convert) -> dict[str, Manifest]:
    """The manifest of the config's source, and one for every file that a recipe reads beside it."""
    found = {MAIN: _main(config, store, options, convert)}
    for path in side_sources(config):
        found[path] = _side(path, config, store, convert)
    return found


def _main(config: Config, store: Store, options: RunOptions, convert: Convert) -> Manifest:
    inventory = take_inventory(config.sources, config.base, store)
    if inventory.to_convert:
        convert(list(inventory.to_convert))
        inventory = take_inventory(config.sources, config.base, store)
    name = source_name(config)
    previous = None if options.accept_source else latest(store, name)
    made = inventory.manifest(store, previous)
    if not made.rows and ALL not in options.allow:
        names = ", ".join(file.name for file in made.files[:5]) + (", ..." if len(made.files) > 5 else "")
        raise DataError(
            f"the source has no documents: there are no rows in {names}; check `path` and the files, "
            f"or go on with --allow all"
        )
    return made


def source_name(config: Config) -> str:
    """Under which name the manifests of this source are kept: who it is, not what it holds."""
    paths = {name: source.path for name, source in config.sources.items()}
    return f"manifests/{key_of(paths, str(config.base.resolve()))}"


def latest(store: Store, name: str) -> Manifest | None:
    """The newest manifest of that source; DataError when the store's copy cannot be read."""
    names = store.list(name)
    if not names:
        return None
    try:
        return Manifest.from_json(store.read(names[-1]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{store.path(names[-1])} is damaged ({error}); delete it and run again") from error


def save(store: Store, config: Config, found: Mapping[str, Manifest]) -> dict[str, str]:
    """Keep the manifests; their names in the store, for whoever reads this run later."""
    names = {}
    for source, manifest in found.items():
        folder = source_name(config) if source == MAIN else f"manifests/{key_of('side', source)}"
        text = manifest.to_json().encode()
        known = store.list(folder)
        if not known or store.read(known[-1]) != text:
            known.append(f"{folder}/{len(known):06d}.json")
            store.commit(known[-1], text)
        names[source] = known[-1]
    return names


def side_sources(config: Config) -> list[str]:
    """The files that parts of recipes read in place of the recipe's input."""
    graph = Graph(config, {})
    found: list[str] = []
    for node in config.ordered():
        fields = graph.resolve(node.spec, node.fields, node.name, config.where("nodes", node.name))
        operator: Operator = node.spec.build(fields)
        parts = operator.parts() if isinstance(operator, Recipe) else []
        found += [str(graph.base / part.source) for part in parts if part.source is not None]
    return list(dict.fromkeys(found))


def side_inventory(path: str, config: Config, store: Store) -> Inventory:
    """What is there of a side file, read with the source's names or, where it has not those, as `text`; a
    file that has no such column either has no text, only columns."""
    text = next(iter(config.sources.values())).text
    problems: list[ConfigError] = []
    for column in dict.fromkeys([text, "text", ""]):
        source: Mapping[str, SourceConfig] = {MAIN: SourceConfig(path=path, text=column)}
        try:
            inventory = take_inventory(source, config.base, store)
            inventory.schemas(store)
        except ConfigError as error:
            problems.append(error)
        else:
            return inventory
    raise problems[0]


def _side(path: str, config: Config, store: Store, convert: Convert) -> Manifest:
    inventory = side_inventory(path, config, store)
    if inventory.to_convert:
        convert(list(inventory.to_convert))
        inventory = side_inventory(path, config, store)
    return inventory.manifest(store, None)
