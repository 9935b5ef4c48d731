"""Selectors as fragments of a DAG, and one run that asks many of them which rows to choose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from operators.kernels.counter import uniform
from pipeline.catalog import find
from pipeline.errors import ConfigError, DataError
from pipeline.sections import NAME
from pipeline.store import key_of
from pipeline.suggest import did_you_mean
from workflows.selecting.task import Int64s, keys, run_config

LIST = Path(__file__).resolve().parents[2] / "configs" / "selection" / "selectors.yaml"
RANDOM = "random"
PROTOCOLS = ("cold", "warm")
_BUDGET = re.compile(r"\$(\d*)k")
_VALUE = re.compile(r"\$([a-z][a-z0-9_]*)")
_DEAL = 0x6465616C  # keeps apart from other uses of a seed


@dataclass(frozen=True)
class Fragment:
    """A selector: the nodes of its branch, of which the last leaves the chosen rows (and may leave those that
    are known). protocols: where it makes sense: `cold` has no label to learn from."""

    name: str
    nodes: Mapping[str, Mapping[str, Any]]
    protocols: tuple[str, ...] = PROTOCOLS

    @property
    def identity(self) -> str:
        """What its choice depends on, beside the rows, the budget and the seed."""
        versions = [find(str(node["op"]), Path.cwd()).cls().version for node in self.nodes.values()]
        return key_of(self.nodes, versions)


@dataclass(frozen=True)
class Branch:
    """A fragment that is to choose k rows, going on from known labels. name: that of its nodes, and its seed.
    labels: id -> label, of what it knows. dealt: the chosen ranks are dealt to other rows (the placebo)."""

    name: str
    fragment: Fragment
    k: int
    labels: Mapping[str, str] = field(default_factory=dict)
    dealt: bool = False


def fragments(
    files: Sequence[Path] = (), wanted: Sequence[str] = (), given: Mapping[str, str] | None = None
) -> tuple[dict[str, Fragment], dict[str, str]]:
    """The selectors of the built-in list and of the files, by name, and why some are left out: those with a
    `$value` that `given` lacks. wanted: only these, and `random`. ConfigError for what cannot be used."""
    given = dict(given or {})
    found: dict[str, Fragment] = {}
    out: dict[str, str] = {}
    for file in [LIST, *files]:
        try:
            listed = yaml.safe_load(file.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{file}: no list of selectors: {error}") from error
        for name, body in listed.items():
            where = f"{file}: {name}"
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or not isinstance(body, dict):
                raise ConfigError(f"{where}: a selector is `name: {{nodes: {{node: {{op: ...}}}}}}`")
            if unknown := body.keys() - {"about", "nodes", "protocols"}:
                raise ConfigError(
                    f"{where}: no key {sorted(unknown)[0]!r}; there are about, nodes, protocols"
                )
            lacking = sorted(values_in(body.get("nodes") or {}) - given.keys())
            if lacking:
                out[name] = f"give --set {lacking[0]}=..."
                continue
            found[name] = _fragment(name, body, given, where)
    for name in wanted:
        if name in out:
            raise ConfigError(f"selector {name}: {out[name]}")
        if name not in found:
            raise ConfigError(f"no selector {name!r}{did_you_mean(name, found)}")
    chosen = {RANDOM, *wanted} if wanted else found.keys()
    return {name: one for name, one in found.items() if name in chosen}, out


def settings_of(parts: Sequence[str]) -> dict[str, str]:
    """`$values` from NAME=VALUE; ConfigError for what is none."""
    for part in parts:
        if "=" not in part:
            raise ConfigError(f"--set {part}: give NAME=VALUE")
    return dict(part.split("=", 1) for part in parts)


def _fragment(name: str, body: Mapping[str, Any], given: Mapping[str, str], where: str) -> Fragment:
    protocols = tuple(body.get("protocols") or PROTOCOLS)
    nodes = body.get("nodes")
    if (
        not isinstance(nodes, dict)
        or not nodes
        or not all(isinstance(n, dict) and "op" in n for n in nodes.values())
    ):
        raise ConfigError(f"{where}: nodes is a mapping of names to {{op: ...}}, with at least one node")
    if wrong := set(protocols) - set(PROTOCOLS):
        raise ConfigError(f"{where}: no protocol {min(wrong)!r}; there are {', '.join(PROTOCOLS)}")
    filled: dict[str, Any] = replaced(nodes, lambda text: _filled(text, given))
    for node in filled.values():
        find(str(node["op"]), Path.cwd())
    return Fragment(name, filled, protocols)


def replaced(value: Any, change: Any) -> Any:
    """A YAML value with all its strings changed, those in lists and mappings too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: replaced(one, change) for key, one in value.items()}
    return [replaced(one, change) for one in value] if isinstance(value, list | tuple) else value


def values_in(value: Any) -> set[str]:
    """The names of all `$value`s but the budget."""
    names: set[str] = set()

    def look(text: str) -> str:
        match = _VALUE.fullmatch(text)
        if match and not _BUDGET.fullmatch(text):
            names.add(match[1])
        return text

    replaced(value, look)
    return names


def _filled(text: str, given: Mapping[str, str]) -> str:
    match = _VALUE.fullmatch(text)
    return given[match[1]] if match and match[1] in given else text


def nodes_of(branch: Branch, first: str) -> dict[str, dict[str, Any]]:
    """The branch's nodes under names of their own: the first one's input is `first`; `$k` is the budget and
    `$10k` ten times as many."""
    inner = branch.fragment.nodes

    def change(text: str) -> Any:
        if match := _BUDGET.fullmatch(text):
            return branch.k * int(match[1] or 1)
        node, dot, column = text.partition(".")
        if node in inner and (dot or text in inner):
            return f"{branch.name}_{node}{dot}{column}"
        return text

    made: dict[str, dict[str, Any]] = {}
    above = first
    for name, body in inner.items():
        plain = {key: value for key, value in body.items() if key != "op"}
        node = {"op": body["op"], "input": above, **_renamed(plain, change, inner)}
        above = f"{branch.name}_{name}"
        made[above] = node
    return made


def _renamed(body: Mapping[str, Any], change: Any, inner: Mapping[str, Any]) -> dict[str, Any]:
    """Names of nodes are changed where nodes are named (`input`, `uses`) and in `node.column`; elsewhere a
    bare word is a value of the operator's, even if a node is called so."""

    def careful(text: str) -> Any:
        return text if text in inner else change(text)

    named = ("input", "uses")
    return {key: replaced(value, change if key in named else careful) for key, value in body.items()}


def choose(folder: Path, pool: str, seed: int, branches: Sequence[Branch]) -> dict[str, Int64s]:
    """Branch -> the rows of the pool (a file in the folder) that it chooses, ascending, none of them known.

    One run of one DAG: what branches share is computed once. DataError where a selector chooses more rows
    than it may."""
    nodes: dict[str, Any] = {}
    exports = []
    for branch in branches:
        first = "source"
        if branch.labels:
            first = f"{branch.name}_known"
            write_labels(branch.labels, folder / "labels" / f"{branch.name}.parquet")
            nodes[first] = {"op": "known_labels", "input": "source", "file": f"labels/{branch.name}.parquet"}
        made = nodes_of(branch, first)
        nodes |= made
        exports.append({"input": list(made)[-1], "path": f"chosen/{branch.name}/", "format": "index"})
    source = {"path": pool, "id": "id", "text": "text"}
    run_config(folder / "round.yaml", {"source": source, "seed": seed, "nodes": nodes, "export": exports})
    ids = pq.ParquetFile(folder / pool).read(["id"])["id"].to_pylist()
    return {branch.name: _chosen(folder, branch, ids, seed) for branch in branches}


def _chosen(folder: Path, branch: Branch, ids: list[str], seed: int) -> Int64s:
    parts = sorted((folder / "chosen" / branch.name).glob("part-*.parquet"))
    uid = np.concatenate(
        [np.zeros(0, np.int64), *(np.asarray(pq.ParquetFile(p).read(["uid"])["uid"]) for p in parts)]
    )
    free = np.array([one not in branch.labels for one in ids], bool)
    rows = uid[free[uid]]
    if len(rows) > branch.k:
        raise DataError(f"{branch.fragment.name} chose {len(rows)} rows where it may choose {branch.k}")
    return deal(rows, free, keys(ids), seed ^ int(key_of(branch.name)[:12], 16)) if branch.dealt else rows


def deal(rows: Int64s, free: np.ndarray, key: np.ndarray, seed: int) -> Int64s:
    """As many rows, ascending: each one's place goes to another of the free rows, by (seed, key)."""
    others = np.flatnonzero(free)
    dealt = others[np.argsort(uniform(seed ^ _DEAL, key[others]), kind="stable")]
    return np.sort(dealt[np.searchsorted(others, rows)])


def write_labels(labels: Mapping[str, str], file: Path) -> None:
    """The labels as a file for `known_labels`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"id": pa.array(labels.keys(), pa.string()), "label": pa.array(labels.values(), pa.string())}
    )
    waiting = file.with_suffix(".tmp")
    pq.write_table(table, waiting)
    waiting.replace(file)
