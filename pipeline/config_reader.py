"""Turns a config's document into its sections, noting every problem instead of stopping at the first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.catalog import OpSpec, find
from pipeline.engine import Resources
from pipeline.errors import ConfigError
from pipeline.fields import booleans, known_fields, problems_of, whole_counts
from pipeline.graph_order import graph_problems
from pipeline.sections import (
    ARMS,
    NAME,
    RESERVED,
    ExportConfig,
    NodeConfig,
    NodeSection,
    ResourcesSection,
    SourceConfig,
    TopSection,
    TrainSection,
)
from pipeline.suggest import did_you_mean
from pipeline.trainer_fields import check_trainer
from pipeline.yaml_positions import Document
from pipeline.yaml_positions import Path as Place

SECTIONS = ("source", "sources", "seed", "store", "memory", "redact", "nodes", "export", "train")
M = TypeVar("M", bound=BaseModel)


class ConfigReader:
    """Turns the document into a Config's parts and collects what is wrong in `document.problems`."""

    def __init__(self, document: Document, base: Path) -> None:
        self.document = document
        self.base = base

    def parts(self) -> dict[str, Any]:
        """The fields of a Config; to be used only when there is no problem."""
        top: dict[str, Any] = self.document.value
        for key in top:
            if key not in SECTIONS:
                self.problem((key,), f"no section {key!r}{did_you_mean(str(key), SECTIONS)}")
        plain = {key: top[key] for key in TopSection.model_fields if key in top}
        values = self.section(TopSection, plain, (), "config") or TopSection()
        sources = self.sources(top)
        return {
            "sources": sources,
            "nodes": self.nodes(top.get("nodes"), sources),
            "exports": self.exports(top.get("export")),
            "train": self.train(top["train"]) if "train" in top else None,
            **values.model_dump(),
        }

    def problem(self, path: Place, text: str) -> None:
        self.document.problems.append(f"{self.document.where(*path)}: {text}")

    def section(self, model: type[M], value: Any, path: Place, owner: str) -> M | None:
        """The section as its model; None after writing down what is wrong."""
        if not isinstance(value, dict):
            keys = ", ".join(known_fields(model))
            self.problem(path, f"{owner} is a mapping with the keys {keys}, not {value!r}")
            return None
        for problem in (wrong := booleans(model, value, owner)):
            self.problem((*path, *problem.where), problem.text)
        if wrong:
            return None
        try:
            return model.model_validate(whole_counts(model, value))
        except ValidationError as error:
            for problem in problems_of(error, model, owner):
                self.problem((*path, *problem.where), problem.text)
            return None

    def sources(self, top: Mapping[str, Any]) -> dict[str, SourceConfig]:
        if ("source" in top) == ("sources" in top):
            self.problem(("sources",), "give one of `source: {path: ...}` and `sources: {name: {path: ...}}`")
            return {}
        if "source" in top:
            source = self.section(SourceConfig, top["source"], ("source",), "source")
            return {} if source is None else {"": source}
        if not isinstance(top["sources"], dict) or not top["sources"]:
            self.problem(("sources",), "sources is a mapping of names to {path: ...}")
            return {}
        found = {}
        for name, value in top["sources"].items():
            self.name(name, ("sources", name), "source")
            found[str(name)] = self.section(SourceConfig, value, ("sources", name), f"source {name}")
        return {name: source for name, source in found.items() if source is not None}

    def name(self, name: Any, path: Place, what: str) -> None:
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in RESERVED:
            rule = f"a {what} is named like {NAME}, but not {' or '.join(RESERVED)}"
            self.problem(path, f"{name!r} cannot name a {what}; {rule}")

    def nodes(self, value: Any, sources: Mapping[str, SourceConfig]) -> tuple[NodeConfig, ...]:
        if not isinstance(value, dict) or not value:
            self.problem(("nodes",), "nodes is a mapping of names to {op: ...}, with at least one node")
            return ()
        given = [str(name) for name in self.document.value.get("sources") or ()] or ["source"]
        nodes = []
        for name, node in value.items():
            self.name(name, ("nodes", name), "node")
            if name in sources:
                self.problem(("nodes", name), f"{name!r} is a source and a node; rename one")
            if isinstance(name, str):
                nodes.append(self.node(name, node))
        self.document.problems += graph_problems(self.document, value, given)
        return tuple(node for node in nodes if node is not None)

    def node(self, name: str, body: Any) -> NodeConfig | None:
        """The node; None when it is broken, with every problem of it written down."""
        path = ("nodes", name)
        if not isinstance(body, dict):
            self.problem(path, f"node {name} is a mapping such as {{op: length_filter}}, not {body!r}")
            return None
        own = {key: value for key, value in body.items() if key in NodeSection.model_fields}
        place = (*path, "resources")
        resources = self.section(ResourcesSection, own.pop("resources", {}), place, f"{name}.resources")
        node = self.section(NodeSection, own, path, f"node {name}")
        rest = {key: value for key, value in body.items() if key not in NodeSection.model_fields}
        found = self.operator(own.get("op"), rest, path)
        if node is None or resources is None or found is None:
            return None
        return NodeConfig(
            name=name,
            op=node.op,
            spec=found[0],
            input=node.input,
            join=node.join,
            uses=node.uses,
            fields=found[1],
            resources=Resources(**resources.model_dump()),
            on_error=node.on_error,
            line=self.document.line(*path),
            max_drop_share=node.max_drop_share,
        )

    def operator(self, op: Any, fields: dict[str, Any], path: Place) -> tuple[OpSpec, dict[str, Any]] | None:
        """The operator, and its fields with counts such as 150k read; None when it cannot be built."""
        if not isinstance(op, str):
            return None
        try:
            spec = find(op, self.base)
            operator, problems = spec.check(fields)
        except ConfigError as error:
            self.problem((*path, "op"), str(error))
            return None
        for problem in problems:
            self.problem((*path, *problem.where), problem.text)
        return None if operator is None else (spec, whole_counts(spec.cls(), fields))

    def exports(self, value: Any) -> tuple[ExportConfig, ...]:
        many = isinstance(value, list)
        found: list[ExportConfig] = []
        for index, item in enumerate(value if many else [] if value is None else [value]):
            path: Place = ("export", index) if many else ("export",)
            export = self.section(ExportConfig, item, path, "export")
            if export is None:
                continue
            if export.input is not None:
                self.known_node(export.input, (*path, "input"), "export")
            if export.path in [other.path for other in found]:
                self.problem((*path, "path"), f"two exports write to {export.path}; give each its own folder")
            found.append(export)
        return tuple(found)

    def train(self, value: Any) -> TrainSection | None:
        if not isinstance(value, dict):
            return self.section(TrainSection, value, ("train",), "train")
        keys = [key for key in TrainSection.model_fields if key != "trainer"]
        own = {key: item for key, item in value.items() if key in keys}
        rest = {key: item for key, item in value.items() if key not in keys}
        trainer, problems = check_trainer(rest, keys)
        for problem in problems:
            self.problem(("train", *problem.where), problem.text)
        if isinstance(own.get("arms"), dict):
            own["arms"] = {name: self.train_arm(name, arm, rest) for name, arm in own["arms"].items()}
        section = self.section(TrainSection, {**own, "trainer": trainer}, ("train",), "train")
        if section is not None:
            self.train_names(section)
        return section

    def train_arm(self, name: str, value: Any, common: dict[str, Any]) -> Any:
        """An arm's settings, with counts read, checked together with the ones that it shares."""
        if not isinstance(value, dict):
            return value
        own = {key: item for key, item in value.items() if key == "input"}
        settings = {key: item for key, item in value.items() if key != "input"}
        trainer, problems = check_trainer({**common, **settings}, ["input"])
        for problem in problems:
            if problem.where and problem.where[0] in settings:
                self.problem(("train", "arms", name, *problem.where), problem.text)
            elif not problem.where:
                self.problem(("train", "arms", name), problem.text)
        return {**own, **{key: trainer[key] for key in settings}}

    def train_names(self, section: TrainSection) -> None:
        self.known_node(section.input, ("train", "input"), "train")
        if section.holdout is not None:
            self.known_node(section.holdout, ("train", "holdout"), "train")
        for index, arm in enumerate(section.compare):
            if arm not in ARMS:
                self.known_node(arm, ("train", "compare", index), "train: compare", ARMS)
        for name, settings in section.arms.items():
            if name in (*ARMS, section.input, *section.compare):
                self.problem(
                    ("train", "arms", name), f"train: arms: {name!r} is an arm already; name it otherwise"
                )
            if (data := settings.get("input")) is not None and data not in ARMS:
                self.known_node(str(data), ("train", "arms", name, "input"), "train: arms", ARMS)

    def known_node(self, name: str, path: Place, what: str, more: tuple[str, ...] = ()) -> None:
        nodes = self.document.value.get("nodes")
        names = [*more, *map(str, nodes if isinstance(nodes, dict) else ())]
        if name not in names:
            self.problem(path, f"{what}: nothing is named {name!r}{did_you_mean(name, names)}")
