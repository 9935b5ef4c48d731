"""Reads a config: every problem in it at once, each with its line and what was probably meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config_reader import SECTIONS, ConfigReader
from pipeline.errors import ConfigError
from pipeline.graph_order import order
from pipeline.overrides import apply_set
from pipeline.sections import ExportConfig, NodeConfig, SourceConfig, TrainSection
from pipeline.suggest import did_you_mean
from pipeline.yaml_positions import Document, read, read_file

__all__ = ["Config", "ExportConfig", "NodeConfig", "SourceConfig", "TrainSection", "load_config"]


@dataclass(frozen=True)
class Config:
    """A whole config, checked as far as it can be without looking at the data.

    A lone `source:` is named "" in `sources`. `nodes` are in the order of the file, in which inputs
    may come later; `ordered` has every node after its inputs."""

    file: Path
    text: str
    sources: dict[str, SourceConfig]
    nodes: tuple[NodeConfig, ...]
    exports: tuple[ExportConfig, ...]
    train: TrainSection | None
    seed: int = 0
    store: str | None = None
    memory: int | None = None
    redact: bool = False
    sets: tuple[str, ...] = ()
    document: Document = field(default_factory=lambda: Document(""), repr=False, compare=False)

    @property
    def base(self) -> Path:
        """The folder from which the config's paths are seen."""
        return self.file.parent

    def where(self, *path: str | int) -> str:
        """`file.yaml:12` of a value such as where("nodes", "fuzzy", "threshold"), or the --set of it."""
        return self.document.where(*path)

    def node(self, name: str) -> NodeConfig:
        """The node of that name; ConfigError with what may have been meant."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(f"no node {name!r}{did_you_mean(name, (node.name for node in self.nodes))}")

    def inputs(self, name: str) -> tuple[str, ...]:
        """Names of the nodes and sources ("" is the lone one) whose rows the node gets, defaults resolved."""
        node = self.node(name)
        if node.input is not None:
            return tuple("" if given == "source" and "" in self.sources else given for given in node.input)
        index = self.nodes.index(node)
        return (self.nodes[index - 1].name,) if index else tuple(self.sources)

    def ordered(self) -> tuple[NodeConfig, ...]:
        """The nodes with every one after its inputs and `uses`, else in the order of the file."""
        nodes = {node.name: node for node in self.nodes}
        edges = {name: _needs(node, self.inputs(name)) for name, node in nodes.items()}
        return tuple(nodes[name] for name in order(edges))


def _needs(node: NodeConfig, inputs: Sequence[str]) -> list[str]:
    return [*inputs, *(used.split("/")[0] for used in node.uses.values())]


def load_config(path: str | Path, sets: Sequence[str] = ()) -> Config:
    """The config in this file, changed by `sets` such as "nodes.fuzzy.threshold=0.7".

    Raises: ConfigError listing every problem, one a line, each with file:line or the --set argument."""
    file = Path(path)
    return parse_config(read_file(file, "a YAML config"), file, sets)


def parse_config(text: str, file: Path, sets: Sequence[str] = ()) -> Config:
    """The config of this text, as if it stood in that file. Raises as load_config."""
    document = read(text, str(file))
    if not isinstance(document.value, dict):
        given = "nothing" if document.value is None else f"a {type(document.value).__name__}"
        raise ConfigError(f"{file}:1: a config is a mapping with the keys {', '.join(SECTIONS)}, not {given}")
    for argument in sets:
        apply_set(document, argument)
    parts = ConfigReader(document, file.parent).parts()
    document.refuse_problems()
    return Config(file=file, text=text, sets=tuple(sets), document=document, **parts)
