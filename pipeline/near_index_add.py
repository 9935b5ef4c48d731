"""Adding what a finished run kept to a near-duplicate index."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from operators.kernels.near_part import FORMAT, Part
from pipeline import near_index_build as build
from pipeline.config import Config, NodeConfig
from pipeline.engine import Engine
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.ledger import load_run, rebuild
from pipeline.manifest import Manifest
from pipeline.near_index import (
    PARTS,
    SCRATCH,
    NearIndex,
    State,
    check_scheme,
    own_parts,
    signature_of,
    signing,
)
from pipeline.nodes import MAIN, Node
from pipeline.store import Store, key_of


@dataclass(frozen=True)
class Added:
    """What came of an addition: the index's version, the part and how many documents it has, how many
    had nothing to compare, how many of other parts it supersedes, which parts it replaces, and what to
    know about it."""

    state: State
    part: str
    documents: int
    left_out: int
    superseded: int
    replaced: tuple[str, ...]
    new: bool
    note: str = ""


def add(
    index: NearIndex, store: Store, config: Config, run_id: str | None, node: str | None, engine: Engine
) -> Added:
    """Add the documents that a finished run kept after its near deduplication, by tasks of the engine.

    The same run twice changes nothing; a later run over the same source takes the place of the earlier
    one. Raises ConfigError, DataError, FileNotFoundError for a run that is not there."""
    run = load_run(store, run_id, config.file.stem)
    then, manifests = rebuild(store, config, run)
    chosen, manifest = _chosen(then, node), manifests[MAIN]
    for checked in (store, index.store):
        engine.check_store(checked)
    graph = Graph(then, manifests)
    graph.build()
    state = index.state()
    there = list(index.open(state).parts)
    signature = signature_of(chosen)
    for part in there:
        check_scheme(part, signature, index.path, f"run {run['run']}, {chosen.name}")
    own = own_parts(there, manifest, index.path)
    note = _met(index, run, chosen, [part for part in there if part not in own])
    context = _context(index, store, manifest, graph, chosen, run)
    record = _build(context, engine) | {"signing": signing(signature), "made_of": _made_of(run, chosen)}
    index.store.sweep()
    name = key_of({k: v for k, v in record.items() if k != "made_of"})
    index.store.commit(f"{PARTS}/{name}.json", json.dumps(record, sort_keys=True, indent=1).encode())
    parts = _placed(state.parts, {part.name for part in own}, name)
    new = parts != state.parts
    if new:
        state = index.commit(state, parts)
        index.open(state)
    index.store.delete(context.scratch)
    superseded = record["removes"]["rows"] if record["removes"] else 0
    kept = _kept(run, chosen)
    documents = record["documents"]
    replaced = tuple(part.name for part in own if part.name != name)
    return Added(state, name, documents, kept - documents, superseded, replaced, new, note)


def _chosen(config: Config, name: str | None) -> NodeConfig:
    """The node whose documents are added: the named one, else the only one that signs."""
    signing = [node for node in config.nodes if node.op == "minhash_dedup"]
    if name is not None:
        node = config.node(name)
        if node not in signing:
            raise ConfigError(f"--node {name}: {node.op} makes no signatures; name a minhash_dedup node")
        return node
    if len(signing) != 1:
        names = ", ".join(node.name for node in signing) or "none"
        raise ConfigError(f"the run has {len(signing)} minhash_dedup nodes ({names}); say which with --node")
    return signing[0]


def _met(index: NearIndex, run: Mapping[str, Any], node: NodeConfig, others: Sequence[Part]) -> str:
    """Raises ConfigError when the index has grown since the run looked at it; a note when it never did."""
    asked = node.name in run.get("pins", {})
    met = {path for paths in run["pins"][node.name].values() for path in paths} if asked else set()
    missing = [part for part in others if index.part_path(part.name) not in met]
    if not missing:
        return ""
    if asked:
        rows = sum(part.rows for part in missing)
        raise ConfigError(
            f"run {run['run']} did not meet {rows} documents of the index {index.path} "
            f"({', '.join(part.name for part in missing)}): with this index in `against` of {node.name} "
            "run the config again (signatures are kept), then add"
        )
    return (
        f"run {run['run']} was not compared with the index (node {node.name} has no `against`), so the index "
        "may hold near duplicates of one another now"
    )


def _kept(run: Mapping[str, Any], node: NodeConfig) -> int:
    return int(next(n["rows_out"] for n in run["nodes"] if n["name"] == node.name))


def _made_of(run: Mapping[str, Any], node: NodeConfig) -> dict[str, str]:
    return {"run": run["run"], "node": node.name}


def _context(
    index: NearIndex,
    store: Store,
    manifest: Manifest,
    graph: Graph,
    chosen: NodeConfig,
    run: Mapping[str, Any],
) -> build.Adding:
    face, signing = graph.nodes[chosen.name], graph.nodes[f"{chosen.name}/signature"]
    signature = signature_of(chosen)
    columns = {name: graph.column_of(signing.name, name) for name in ("bands", "signature", "shingles")}
    columns["text"] = signing.reads[signature.column]
    against: Node | None = graph.nodes.get(f"{chosen.name}/against")
    if against is not None and "superseded" in against.adds:
        columns["superseded"] = graph.column_of(against.name, "superseded")
    entries = _kept(run, chosen) * signature.bands
    if _kept(run, chosen) >= build.MOST_DOCUMENTS:
        raise ConfigError(
            f"run {run['run']} kept {_kept(run, chosen)} documents; a part of an index holds fewer than "
            "2^32: add the source in several runs"
        )
    names = {name: column.identity() for name, column in columns.items()}
    scratch = (
        f"{SCRATCH}/{key_of(face.after.identity(), manifest.identity(), names, build.range_bits(entries))}"
    )
    return build.Adding(
        store,
        index.store,
        manifest,
        face.after,
        columns,
        signature.shingling(),
        build.range_bits(entries),
        scratch,
        graph.config.file.stem,
    )


def _build(context: build.Adding, engine: Engine) -> dict[str, Any]:
    """The record of a part, its files written."""
    shards = range(len(context.manifest.shards))
    _each(engine, build.index_shard, context, shards)
    records = [context.record(shard) for shard in shards]
    docs = [{k: v for k, v in r.items() if k not in ("keys", "removes")} for r in records if r is not None]
    bases = [0]
    for record in docs:
        bases.append(bases[-1] + record["rows"])
    context = replace(context, bases=tuple(bases[:-1]))
    ranges = range(2**context.range_bits)
    _each(engine, build.merge_keys, context, ranges)
    keys = [context.record(f"range-{number}") for number in ranges]
    removes = None
    if "superseded" in context.columns:
        _each(engine, build.merge_removes, context, range(1))
        removes = context.record("removes")
    return {
        "format": FORMAT,
        "documents": bases[-1],
        "docs": docs,
        "keys": keys,
        "range_bits": context.range_bits,
        "removes": removes if removes is not None and removes["rows"] else None,
    }


def _each(
    engine: Engine, fn: Callable[[build.Adding, int], int], context: build.Adding, tasks: range
) -> None:
    for _ in engine.run(fn, context, tasks):
        pass


def _placed(parts: Sequence[str], own: set[str], name: str) -> tuple[str, ...]:
    """The parts with the new one in the place of the first of its own, else at the end."""
    found: list[str] = []
    for part in parts:
        if part not in own:
            found.append(part)
        elif name not in found:
            found.append(name)
    return tuple(found) if name in found else (*found, name)
