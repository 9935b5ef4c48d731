"""Runs an operator with some fields as a config's only node, over any cut of the corpus, on any engine."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import Artifact, ColumnOp, Operator, Recipe, Uses
from pipeline import books, ingest
from pipeline.catalog import OpSpec, names
from pipeline.config import Config, NodeConfig, SourceConfig
from pipeline.drive import Driver, run_phases
from pipeline.engine import Engine, Resources
from pipeline.graph import MAIN, SIZE, Graph, Node
from pipeline.ingest import ConvertTask
from pipeline.law_corpus import EVERYWHERE, corpus, with_columns, write
from pipeline.manifest import Manifest
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.tasks import Done, artifact_name, load_uses
from pipeline.view import ShardView

Rows = list[dict[str, Any]]


class BrokenLaw(Exception):  # noqa: N818 (it is what it says)
    """What an operator does that it must not do, for its author."""


@dataclass(frozen=True)
class Trial:
    """An operator with the fields of one of its examples. base: from where its paths are seen."""

    spec: OpSpec
    fields: Mapping[str, Any]
    base: Path
    number: int = 0

    @property
    def name(self) -> str:
        """What its node is called."""
        return f"{self.spec.name}_{self.number}"

    @property
    def op(self) -> str:
        """How a config names the operator."""
        return self.spec.name if self.spec.source is None else self.spec.path

    @cached_property
    def operator(self) -> Operator:
        """The operator; ConfigError when the fields are not valid."""
        return self.spec.build(dict(self.fields))

    def alone(self) -> str:
        """Why the operator cannot be a node of its own, or nothing when it can."""
        reads = self.operator.reads if isinstance(self.operator, ColumnOp) else {}
        inner = [name for name in reads if name.startswith(("/", "last."))]
        if inner and not any(part.op == self.spec.name for part in self._body()):
            return f"it is a part of a recipe: it reads {inner[0]}"
        used = recipes_with_artifacts().get(self.spec.name)
        return f"it is a part of a recipe: {used} gives it artifacts" if used else ""

    def _body(self) -> list[Any]:
        return []


def recipes_with_artifacts() -> dict[str, str]:
    """The operators to which a recipe of this package gives artifacts, and that recipe."""
    found: dict[str, str] = {}
    for name in names():
        for fields in OpSpec(name).cls().examples:
            operator, _ = OpSpec(name).check(dict(fields))
            parts = operator.parts() if isinstance(operator, Recipe) else []
            found |= {part.op: name for part in parts if part.uses}
    return found
