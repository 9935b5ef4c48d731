"""Why a document is where it is: which node dropped it, on which evidence, or that it was kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.books import Entry
from pipeline.config import Config
from pipeline.details import evidence
from pipeline.dropped import reason_of
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.ledger import load_run, rebuild
from pipeline.manifest import Manifest
from pipeline.nodes import MAIN, Node, common_schema
from pipeline.prepare import RunOptions, open_store
from pipeline.reader import fetch
from pipeline.redact import Veil, veil_of
from pipeline.samples import documents
from pipeline.view import ShardView


def why(config: Config, options: RunOptions, run_id: str | None, document: str) -> str:
    """The fate of one document in a run, node by node.

    document: its id, or `uid:N` for its position. Raises ConfigError when there is no such document,
    FileNotFoundError when there is no such run."""
    store = open_store(config, options)
    run = load_run(store, run_id, config.file.stem)
    today = config
    config, manifests = rebuild(store, config, run)
    manifest = manifests[MAIN]
    graph = Graph(config, manifests)
    nodes = graph.build()
    uid = find(manifest, document)
    shard, row = manifest.locate(uid)
    view = ShardView(store, manifest, shard.index)
    veil = veil_of(store) if today.redact or options.redact or run.get("redacted") else None
    text = documents(manifest, [uid])[uid]
    if veil is not None:
        text = veil.document(text) or {}
    lines = [f"{text['id']} (uid {uid}, {view.place(row)})", f"  {_short(text['text'])}"]
    shown = (n for n in nodes.values() if n.data == MAIN and (n.face or _took(view, n, row)))
    lines += [_fate(view, node, row, manifest, veil) + _grounds(view, node, nodes, row) for node in shown]
    return "\n".join(lines)


def find(manifest: Manifest, document: str) -> int:
    """The uid of a document given by its id or as `uid:N`."""
    position = document.removeprefix("uid:")
    if position != document and position.isdigit():
        uid = int(position)
        if not 0 <= uid < manifest.rows:
            raise ConfigError(f"no document {document}: the source has {manifest.rows} rows")
        return uid
    if "id" not in common_schema(manifest).names:
        raise ConfigError(
            f"the source has no id column, so name the document by its position: uid:{document}"
        )
    from pipeline.reader import read_rows

    for shard in manifest.shards:
        for rows, batch in read_rows(manifest, shard, ["id"], None, 65_536):
            found = pc.index(pc.cast(batch.column("id"), pa.large_string()), document).as_py()
            if found >= 0:
                return shard.base + int(rows[found])
    raise ConfigError(f"no document has the id {document!r}; a position is named like uid:0")


def _took(view: ShardView, node: Node, row: int) -> bool:
    """Whether this node, be it a part of a recipe, took the row out."""
    there = bool(node.drops and view.alive(node.alive)[row])
    return there and bool(view.covered(node.key, node.positional)[row]) and not view.alive(node.after)[row]


def _fate(view: ShardView, node: Node, row: int, manifest: Manifest, veil: Veil | None) -> str:
    """One line: not there any more, dropped and why, or what the node says of it."""
    if not view.alive(node.alive)[row]:
        return f"{node.name}: did not come so far"
    at = np.array([row], np.uint32)
    if not view.covered(node.key, node.positional)[row]:
        return f"{node.name}: nothing recorded"
    if node.drops and not view.alive(node.after)[row]:
        reason, known = reason_of(view, node.after, row)
        if veil is not None:
            known = json.dumps(veil.value(json.loads(known)))
        return f"{node.name}: DROPPED, {reason} {known}{_kept(view, node, at, manifest, veil)}"
    entry = Entry(node.name, node.key, node.alive, node.after, node.drops, node.positional, None)
    said = evidence(view, entry, at)["evidence"]
    said = said if veil is None else veil.value(said)
    values = ", ".join(f"{name} {_plain(value)}" for name, value in said.items())
    return f"{node.name}: stays{f' ({values})' if values else ''}"


def _grounds(view: ShardView, node: Node, nodes: Mapping[str, Node], row: int) -> str:
    """The scores that a node decided by: the numbers that it, or a part of it, read of other nodes."""
    if not node.drops or not view.alive(node.alive)[row]:
        return ""
    parts = [n for n in nodes.values() if n is node or n.recipe == node.name]
    own = {part.name for part in parts}
    read = {f"{c.node}.{c.name}": c for part in parts for c in part.reads.values() if c.origin == "node"}
    at = np.array([row], np.uint32)
    known = {
        name: view.values(column, at)[0].as_py()
        for name, column in read.items()
        if column.node not in own and column.dtype is not None and pa.types.is_primitive(column.dtype)
        if view.covered(column.key, column.positional)[row]
    }
    return (
        f"\n    by {', '.join(f'{name} {_plain(value)}' for name, value in known.items())}" if known else ""
    )


def _kept(view: ShardView, node: Node, at: Any, manifest: Manifest, veil: Veil | None) -> str:
    """The document that was kept in its place."""
    if "kept" not in node.adds:
        return ""
    table = view.table(node.key, node.positional)
    column = table["kept"].combine_chunks()
    rows = np.asarray(table["row"].combine_chunks())
    uid = column[int(np.searchsorted(rows, at[0]))].as_py()
    if uid is None:
        return ""
    kept = fetch(manifest, [uid], ["text"]).to_pylist()[0]
    name, text = documents(manifest, [uid])[uid]["id"], kept["text"] or ""
    if veil is not None:
        name, text = veil.name(name), veil.text(text)
    return f"\n    kept instead: {name} (uid {uid}): {_short(text)}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:157]}..."


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
