"""The parts of near-duplicate indexes that a run stands on: what they were when it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from operators.contract import UserFile
from pipeline.config import Config, NodeConfig
from pipeline.errors import ConfigError
from pipeline.manifest import Manifest

Pins = Mapping[str, Mapping[str, Sequence[str]]]  # node -> field -> paths of parts


def pinned(
    config: Config, manifest: Manifest, note: Callable[[str], None] = lambda _: None
) -> tuple[Config, dict[str, dict[str, list[str]]]]:
    """The config with every index replaced by the parts that it has now, apart from those made of this
    source; and those parts by node and field, for whoever reads the run later.

    So a run stands on parts that cannot change, and adding it to the index does not change its results.
    note: told of every part that is left aside."""
    pins: dict[str, dict[str, list[str]]] = {}
    for node in config.nodes:
        for name in index_fields(node):
            where = f"{config.where('nodes', node.name, name)}: {node.name}.{name}"
            given = node.fields[name]
            paths = [given] if isinstance(given, str) else given
            parts = [p for path in paths for p in _parts(path, config, manifest, node, where, note)]
            pins.setdefault(node.name, {})[name] = list(dict.fromkeys(parts))
    return repinned(config, pins), pins


def repinned(config: Config, pins: Pins) -> Config:
    """The config with these parts in place of its indexes."""
    if not pins:
        return config
    nodes = [replace(node, fields={**node.fields, **pins.get(node.name, {})}) for node in config.nodes]
    return replace(config, nodes=tuple(nodes))


def index_fields(node: NodeConfig) -> list[str]:
    """The fields of a node that name indexes, where they are given."""
    marks = {
        name: [m for m in info.metadata if isinstance(m, UserFile) and m.index]
        for name, info in node.spec.cls().model_fields.items()
    }
    return [name for name, found in marks.items() if found and node.fields.get(name)]


def check_part(_: None, path: str) -> None:
    """A task: raises DataError when a file of an index's part has not the content it was written with."""
    from pipeline.near_index import check_content, opened

    for part in opened([path]).parts:
        check_content(part)


def _parts(
    path: str, config: Config, manifest: Manifest, node: NodeConfig, where: str, note: Callable[[str], None]
) -> list[str]:
    folder = Path(config.base.resolve(), Path(path).expanduser()) if "://" not in path else path
    if Path(folder).is_file():
        return [str(folder)]
    from pipeline.near_index import NearIndex, check_scheme, own_parts, signature_of

    index = NearIndex(folder)
    if not index.state().number:
        raise ConfigError(f"{where}: {index.path} is no near-duplicate index; `tamis index add` makes one")
    parts = index.open(index.state()).parts
    for part in parts:
        check_scheme(part, signature_of(node), index.path, where)
    own = own_parts(parts, manifest, index.path)
    for part in own:
        note(
            f"{node.name}: part {part.name} of {index.path} holds documents of files with the same content "
            f"as this source's, so the run does not compare with it"
        )
    return [index.part_path(part.name) for part in parts if part not in own]
