"""The settings of a plan: from a YAML file, from options, or both."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.budget.law import Law, load
from pipeline.budget.pools import Pool, read_curve
from pipeline.errors import ConfigError
from pipeline.suggest import did_you_mean
from pipeline.yaml_positions import Document, read, read_file

if TYPE_CHECKING:
    from pipeline.budget.planner import Plan

SCHEMA = "tamis-plan/1"
KEYS = ("law", "group", "flops", "pools", "score_params", "max_epochs")
POOL_KEYS = ("tokens", "keep_curve", "multiplier")


@dataclass(frozen=True)
class Settings:
    """What a plan is made from."""

    law: Law
    law_name: str
    flops: float
    pools: tuple[Pool, ...]
    score_params: float
    max_epochs: float

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """The plan with all that it was made from."""
        law = {"name": self.law_name, "kind": self.law.kind, "params": self.law.params}
        asked = {"flops": self.flops, "score_params": self.score_params, "max_epochs": self.max_epochs}
        return {"schema": SCHEMA, "law": law, "asked": asked, **asdict(plan)}


def settings(arguments: argparse.Namespace) -> Settings:
    """Raises ConfigError with file:line for what is missing, unknown or of the wrong form."""
    document = _document(arguments.file) if arguments.file else Document("", {})
    base = Path(arguments.file).parent if arguments.file else Path()
    value = document.value
    name = arguments.law or _text(document, base, "law")
    if name is None:
        raise ConfigError(
            "no law; give --law law.json, or the name of published constants such as --law epoch"
        )
    law = load(name, arguments.group or _plain(document, "group"))
    flops = arguments.flops or _number(document, "flops")
    if flops is None:
        raise ConfigError("no budget; give --flops 1e20")
    pools = [Pool(n, t, read_curve(c, law) if c else None) for n, t, c in arguments.pools]
    if not pools:
        pools = [_pool(document, base, key, law) for key in value.get("pools") or {}]
    return Settings(
        law, name, flops, tuple(pools),
        arguments.score_params or _number(document, "score_params") or 0.0,
        arguments.max_epochs or _number(document, "max_epochs") or 16.0,
    )  # fmt: skip


def _document(path: str) -> Document:
    document = read(read_file(Path(path), "a YAML file"), path)
    document.refuse_problems()
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path}:1: a plan is a mapping with the keys {', '.join(KEYS)}")
    for key in document.value:
        if key not in KEYS:
            raise ConfigError(f"{document.where(key)}: unknown key {key!r}{did_you_mean(str(key), KEYS)}")
    pools = document.value.get("pools") or {}
    if not isinstance(pools, dict) or not all(
        isinstance(given, dict | int | float) for given in pools.values()
    ):
        raise ConfigError(
            f"{document.where('pools')}: pools is a mapping such as {{web: {{tokens: 2e11}}, wiki: 4e9}}"
        )
    for name, given in pools.items():
        for key in given if isinstance(given, dict) else ():
            if key not in POOL_KEYS:
                where = document.where("pools", name, key)
                raise ConfigError(f"{where}: unknown key {key!r}{did_you_mean(str(key), POOL_KEYS)}")
    return document


def _pool(document: Document, base: Path, name: str, law: Law) -> Pool:
    given: Mapping[str, Any] | float = document.value["pools"][name]
    if not isinstance(given, dict):
        return Pool(name, _number(document, "pools", name) or 0.0)
    tokens = _number(document, "pools", name, "tokens")
    if tokens is None:
        raise ConfigError(f"{document.where('pools', name)}: pool {name!r} has no tokens")
    curve = _text(document, base, "pools", name, "keep_curve")
    multiplier = _number(document, "pools", name, "multiplier")
    return Pool(
        name, tokens, read_curve(curve, law) if curve else None, 1.0 if multiplier is None else multiplier
    )


def _at(document: Document, path: tuple[str, ...]) -> Any:
    value = document.value
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(document: Document, *path: str) -> str | None:
    value = _at(document, path)
    return None if value is None else str(value)


def _text(document: Document, base: Path, *path: str) -> str | None:
    """A file's path as seen from the YAML file, or a name that is no file."""
    value = _plain(document, *path)
    return str(base / value) if value is not None and (base / value).exists() else value


def _number(document: Document, *path: str) -> float | None:
    value = _at(document, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(
            f"{document.where(*path)}: {path[-1]} is {value!r}; give a positive number such as 2e11"
        )
    return float(value)
