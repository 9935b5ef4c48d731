"""The JSON schema of a whole config, one variant of a node for every operator, for editors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from operators.contract import Operator
from pipeline.catalog import OpSpec, names
from pipeline.errors import ConfigError
from pipeline.sections import (
    NAME,
    RESERVED,
    ExportConfig,
    NodeSection,
    SourceConfig,
    TopSection,
    TrainSection,
)
from pipeline.trainer_fields import train_config

Json = dict[str, Any]
Schemas = dict[type[BaseModel], Json]
SECTIONS: tuple[type[BaseModel], ...] = (SourceConfig, NodeSection, ExportConfig, TopSection, TrainSection)
VARIABLE = r"\$\{"
COUNT = rf"^[-+]?[0-9][0-9._]*([eE][-+]?[0-9]+)? *[kKmMgGbBtT]?$|{VARIABLE}"


def config_schema() -> Json:
    """The schema; operators whose packages are not installed take any field."""
    operators = dict(_operators())
    trainer = _trainer()
    schemas, shared = _schemas([*SECTIONS, *trainer, *(kind for kind in operators.values() if kind)])
    own = schemas[NodeSection]["properties"]
    variants = {f"op.{name}": _variant(name, kind, own, schemas) for name, kind in operators.items()}
    variants["op.file"] = _any_fields({"type": "string", "pattern": r"(/|\.py$)"}, own)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "tamis config",
        "type": "object",
        "properties": {**_sections(schemas, list(variants)), "train": _train(schemas, trainer)},
        "required": ["nodes"],
        "oneOf": [{"required": ["source"]}, {"required": ["sources"]}],
        "additionalProperties": False,
        "$defs": {**shared, **variants},
    }


def _schemas(models: Sequence[type[BaseModel]]) -> tuple[Schemas, Json]:
    """The schema of every model, and the definitions to which they refer."""
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    shared: Json = dict(definitions["$defs"])
    names = {model: refs[model, "validation"]["$ref"].rsplit("/", 1)[1] for model in models}
    return {model: shared.pop(name) for model, name in names.items()}, shared


def _operators() -> Iterator[tuple[str, type[Operator] | None]]:
    for name in names():
        try:
            yield name, OpSpec(name).cls()
        except ConfigError:
            yield name, None


def _trainer() -> list[type[BaseModel]]:
    try:
        return [train_config()]
    except ConfigError:
        return []


def _sections(schemas: Schemas, variants: Sequence[str]) -> Json:
    source, export = schemas[SourceConfig], schemas[ExportConfig]
    export = {**export, "properties": {key: _loose(value) for key, value in export["properties"].items()}}
    reserved = "|".join(f"{name}$" for name in RESERVED)
    named = {"pattern": f"^(?!{reserved}){NAME}$"}
    nodes = {"anyOf": [{"$ref": f"#/$defs/{variant}"} for variant in variants]}
    return {
        "source": source,
        "sources": {
            "type": "object",
            "propertyNames": named,
            "additionalProperties": source,
            "minProperties": 1,
        },
        **{key: _loose(value) for key, value in schemas[TopSection]["properties"].items()},
        "nodes": {
            "type": "object",
            "propertyNames": named,
            "additionalProperties": nodes,
            "minProperties": 1,
        },
        "export": {"anyOf": [export, {"type": "array", "items": export}]},
    }


def _train(schemas: Schemas, trainer: Sequence[type[BaseModel]]) -> Json:
    section = schemas[TrainSection]
    properties = {key: value for key, value in section["properties"].items() if key != "trainer"}
    for model in trainer:
        properties = {**{k: _loose(v) for k, v in schemas[model]["properties"].items()}, **properties}
    return {**section, "properties": properties, "additionalProperties": not trainer}


def _variant(name: str, kind: type[Operator] | None, own: Json, schemas: Schemas) -> Json:
    if kind is None:
        return _any_fields({"const": name}, own)
    schema = schemas[kind]
    fields = {key: _loose(value) for key, value in schema.get("properties", {}).items()}
    return {
        "type": "object",
        "description": inspect.getdoc(kind) or "",
        "properties": {**fields, **own, "op": {"const": name, "description": inspect.getdoc(kind) or ""}},
        "required": ["op", *schema.get("required", [])],
        "additionalProperties": False,
    }


def _any_fields(op: Json, own: Json) -> Json:
    return {"type": "object", "properties": {**own, "op": op}, "required": ["op"]}


def _loose(field: Json) -> Json:
    """A number may also be written as `150k` (whole ones) or as `${NAME}`."""
    options: list[Json] = field.get("anyOf", [field])
    kinds = [option.get("type") for option in options]
    if "string" in kinds or not {"integer", "number", "boolean"} & set(kinds):
        return field
    pattern = COUNT if "integer" in kinds else VARIABLE
    outer = ("title", "description", "default")
    inner = [{key: value for key, value in option.items() if key not in outer} for option in options]
    kept = {key: field[key] for key in outer if key in field}
    return {**kept, "anyOf": [*inner, {"type": "string", "pattern": pattern}]}
