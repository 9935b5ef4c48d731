"""`tamis ops` over every operator, and the JSON schema against real configs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.catalog import OpSpec, names
from pipeline.describe import describe, overview, summary
from pipeline.schema import config_schema

BASE: dict[str, Any] = {
    "source": {"path": "a/*.parquet"},
    "nodes": {"a": {"op": "exact_dedup"}},
    "export": {"path": "o"},
}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = config_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_overview_names_every_operator_once() -> None:
    listed = [line.split()[0] for line in overview().splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(names())


@pytest.mark.parametrize("name", sorted(names()))
def test_every_operator_is_documented(name: str) -> None:
    kind = OpSpec(name).cls()
    assert summary(kind), f"{name} has no docstring"
    undocumented = [field for field, info in kind.model_fields.items() if not info.description]
    assert not undocumented, f"{name}: no text under {undocumented}"
    text = describe(name, Path())
    assert text.startswith(f"{name}: ")
    assert all(f"  {field}: " in text for field in kind.model_fields)
    assert f"{{op: {name}" in text or f"op: {name}\n" in text


def test_a_description_in_full() -> None:
    text = describe("length_filter", Path())
    for part in (
        "MapOp of operators, version",
        "fields\n",
        "reads\n  text: large_string",
        "adds\n  drop: dictionary",
    ):
        assert part in text


def test_schema_takes_what_an_operator_takes(validator: Any) -> None:
    for name in names():
        for fields in [{}, *OpSpec(name).cls().examples]:
            written = yaml.safe_load(yaml.safe_dump({"op": name, **fields}))
            if not OpSpec(name).check(dict(fields))[1]:
                validator.validate({**BASE, "nodes": {"a": written}})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3, "store": "s3://b/x"},
        {"nodes": {"a": {"op": "./my_op.py", "anything": 3}}},
        {"nodes": {"a": {"op": "exact_dedup", "input": ["source"], "uses": {"x": "y"}, "on_error": "stop"}}},
        {"nodes": {"a": {"op": "importance", "score": "x", "keep_tokens": "150k"}}},
        {"nodes": {"a": {"op": "importance", "score": "x", "keep_tokens": "${N}"}}},
        {"export": [{"path": "o", "file_bytes": "1.5GB"}, {"path": "p", "format": "index"}]},
        {"export": {"path": "o", "format": "packed", "tokenizer": "m", "seq_len": "2k", "window": "10k"}},
        {"train": {"input": "a", "init": "m", "tokens": "150k", "compare": ["random"], "seeds": [1, 2]}},
    ],
)
def test_schema_takes_good_configs(validator: Any, change: dict[str, Any]) -> None:
    validator.validate({**BASE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"stor": "x"},
        {"sources": {"a": {"path": "x"}}},
        {"nodes": {}},
        {"nodes": {"last": {"op": "exact_dedup"}}},
        {"nodes": {"a": {"op": "exact_dedupe"}}},
        {"nodes": {"a": {"op": "exact_dedup", "nope": 1}}},
        {"nodes": {"a": {"op": "importance"}}},
        {"nodes": {"a": {"op": "importance", "score": "x", "keep_tokens": "many"}}},
        {"nodes": {"a": {"op": "exact_dedup", "resources": {"worker": 1}}}},
        {"export": {"path": "o", "format": "csv"}},
        {"export": {"path": "o", "format": "packed", "tokenizer": "m"}},
        {"export": {"path": "o", "seq_len": 512}},
        {"source": {"path": "x", "schema_": {}}},
        {"train": {"input": "a", "tokns": 3}},
        {"train": {"input": "a", "trainer": {}}},
    ],
)
def test_schema_refuses_what_the_config_refuses(validator: Any, change: dict[str, Any]) -> None:
    assert not validator.is_valid({**copy.deepcopy(BASE), **change})
