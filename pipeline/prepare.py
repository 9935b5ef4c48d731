"""From a config to what a run or a plan stands on: the store and the manifest of every source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operators.contract import Operator, Recipe
from pipeline.config import Config, SourceConfig
from pipeline.errors import ConfigError, DataError
from pipeline.graph import MAIN, Graph
from pipeline.ingest import ConvertTask
from pipeline.manifest import Inventory, Manifest, take_inventory
from pipeline.store import Store, key_of


@dataclass(frozen=True)
class RunOptions:
    """How to run, never what: none of this enters the identity of a value."""

    engine: str = "local"
    workers: int | None = None
    store: str | None = None
    address: str | None = None
    batch_rows: int | None = None
    device: str = "auto"
    accept_source: bool = False


Convert = Callable[[list[ConvertTask]], None]


def open_store(config: Config, options: RunOptions) -> Store:
    """The store of the options, the config, or `.tamis` beside the config."""
    url = options.store or config.store
    if url is None:
        return Store(str(config.base.resolve() / ".tamis"))
    if "://" in url or options.store is not None:
        return Store(url if "://" in url else str(Path(url).resolve()))
    return Store(str((config.base / url).resolve()))


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
    manifest = inventory.manifest(store, previous)
    _save(store, name, manifest)
    return manifest


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


def _save(store: Store, name: str, manifest: Manifest) -> None:
    names = store.list(name)
    text = manifest.to_json().encode()
    if not names or store.read(names[-1]) != text:
        store.commit(f"{name}/{len(names):06d}.json", text)


def side_sources(config: Config) -> list[str]:
    """The files that parts of recipes read in place of the recipe's input."""
    graph = Graph(config, {})
    found: list[str] = []
    for node in config.ordered():
        fields = graph.resolve(node.spec, node.fields, node.name, config.where("nodes", node.name))
        operator: Operator = node.spec.build(fields)
        parts = operator.parts() if isinstance(operator, Recipe) else []
        found += [str(config.base / part.source) for part in parts if part.source is not None]
    return list(dict.fromkeys(found))


def _side(path: str, config: Config, store: Store, convert: Convert) -> Manifest:
    """The manifest of a side file, read with the source's names or, where it has not those, as `text`."""
    text = next(iter(config.sources.values())).text
    problems: list[ConfigError] = []
    for column in dict.fromkeys([text, "text"]):
        source: Mapping[str, SourceConfig] = {MAIN: SourceConfig(path=path, text=column)}
        try:
            inventory = take_inventory(source, config.base, store)
            if inventory.to_convert:
                inventory.schemas(store)
                convert(list(inventory.to_convert))
                inventory = take_inventory(source, config.base, store)
            return inventory.manifest(store, None)
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def peek(config: Config, store: Store) -> Inventory:
    """What is there now, for a plan that must not convert anything."""
    return take_inventory(config.sources, config.base, store)
