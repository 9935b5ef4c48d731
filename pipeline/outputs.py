"""What a run would write and train, checked before anything is computed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from fsspec.utils import glob_translate

from pipeline.config import Config, TrainSection
from pipeline.errors import ConfigError
from pipeline.export import check_ours
from pipeline.graph import Graph
from pipeline.listing import as_list
from pipeline.manifest import Manifest
from pipeline.packed import packing_of
from pipeline.sections import ARMS
from pipeline.store import Store


def folder_of(config: Config, path: str) -> str:
    """Where an export goes: a URL, or a folder seen from the config's."""
    return path.rstrip("/") if "://" in path else os.path.abspath(config.base / path)


def check_outputs(config: Config, graph: Graph) -> None:
    """Raises ConfigError for a column or a node that an export or the training names and nobody has,
    and for a comparison that would fail after everything has been computed."""
    last = config.nodes[-1].name if config.nodes else next(iter(config.sources))
    for number, export in enumerate(config.exports):
        packing_of(config, export, number)
        node = export.input or last
        for column in export.columns or ():
            if graph.column_above(column, node).origin != "node":
                raise ConfigError(
                    f"{config.where('export')}: columns: {column} is the source's own, and those are written "
                    "anyway; list only columns of nodes"
                )
        edits = graph.edits((node,)) if export.format == "index" else ()
        if edits:
            raise ConfigError(
                f"{config.where('export')}: {edits[-1].node} edits the text, which format: index leaves "
                f"where it is; write {node} as parquet, arrow or jsonl.zst"
            )
    train = config.train
    if train is None:
        return
    for name in train.inputs:
        if name not in graph.nodes and name not in ARMS:
            raise ConfigError(f"{config.where('train')}: no node {name!r} to train on")
    for part in [p for own in (train.trainer, *train.arms.values()) for p in own.get("joint") or ()]:
        name = part.get("input")
        if name and name not in graph.nodes and name not in ARMS:
            raise ConfigError(f"{config.where('train', 'joint')}: joint: no node {name!r} to read")
    check_train(config, train)
    _check_columns(config, graph, train)


def check_folders(config: Config, manifests: Mapping[str, Manifest], store: Store) -> None:
    """Raises ConfigError for an export that cannot be written, or would overwrite a source file, the
    store, another export or anybody's files."""
    sources = [f.path for manifest in manifests.values() for f in manifest.files]
    taken: dict[str, str] = {}
    for number, export in enumerate(config.exports):
        for key, path in (("path", export.path), ("dropped", export.dropped)):
            if path is None:
                continue
            where = f"{config.where('export', number, key)}: {key} {path}"
            folder = folder_of(config, path)
            if folder in taken:
                raise ConfigError(f"{where} is also the folder of {taken[folder]}; each needs its own")
            taken[folder] = f"{key} {path}"
            inside = next((s for s in sources if os.path.dirname(s) == folder), None)
            if inside is not None:
                raise ConfigError(f"{where} holds the source file {inside}; export to another folder")
            if pattern := _matching(config, folder):
                raise ConfigError(
                    f"{where}: the next run would take it for a part of the source, as it lies in {pattern}; "
                    f"export to another folder"
                )
            if store.is_local and (folder == store.root or folder.startswith(f"{store.root}/")):
                raise ConfigError(f"{where} lies in the store {store.url}; export to another folder")
            _check_writable(where, folder)


def _matching(config: Config, folder: str) -> str | None:
    """The path of a source that would also name the files of an export in this folder."""
    file = f"{folder}/part-00000.parquet"
    for pattern in (path for source in config.sources.values() for path in as_list(source.path)):
        full = pattern if "://" in pattern else os.path.abspath(config.base / pattern)
        inside = file.removeprefix(f"{full}/") if file.startswith(f"{full}/") else ""
        hidden = any(name[0] in "._" for name in inside.split("/") if name)
        if (inside and not hidden) or re.fullmatch(glob_translate(full), file):
            return pattern
    return None


def _check_writable(where: str, folder: str) -> None:
    if "\0" in folder or any(len(os.fsencode(name)) > 255 for name in folder.split("/")):
        raise ConfigError(f"{where!r}: no folder can be called so; choose another name")
    if "://" not in folder:
        there = next(p for p in (Path(folder), *Path(folder).parents) if p.exists())
        if not there.is_dir():
            raise ConfigError(f"{where}: {there} is a file, not a folder")
        if not os.access(there, os.W_OK):
            raise ConfigError(f"{where}: {there} cannot be written; choose another folder")
    try:
        check_ours(folder)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{where} cannot be read or written: {type(error).__name__}: {error}") from error


def check_train(config: Config, section: TrainSection) -> None:
    """Raises ConfigError for a comparison that would fail after everything has been computed."""
    where = config.where("train")
    seeds = section.seeds if isinstance(section.seeds, int) else len(section.seeds)
    if seeds < 1:
        raise ConfigError(f"{where}: seeds is {section.seeds}; a comparison needs at least one")
    if section.holdout is None:
        found = [node.name for node in config.nodes if node.op == "holdout"]
        if len(found) != 1:
            raise ConfigError(
                f"{where}: the config has {len(found)} nodes with op holdout; reserve documents for "
                "evaluation with one, or name it as `holdout:`"
            )
    _check_checkpoint(where, config.base, section)


def _check_columns(config: Config, graph: Graph, section: TrainSection) -> None:
    """Raises ConfigError for a label or features that some arm's or the reserved documents would lack."""
    reserved = section.holdout or next(node.name for node in config.nodes if node.op == "holdout")
    for key in ("label", "features"):
        name = str(section.trainer.get(key) or "")
        for node in [reserved, *(n for n in section.inputs if n not in ARMS)] if name else ():
            try:
                column = graph.column_above(name, node)
            except ConfigError as error:
                raise ConfigError(
                    f"{config.where('train', key)}: {key}: {name} is no column of the documents of {node}, "
                    f"which are trained or tested on: {error}"
                ) from error
            if key == "features" and not _is_list(column.dtype):
                raise ConfigError(
                    f"{config.where('train', key)}: features: {name} is {column.dtype}, not lists of numbers"
                )


def _is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)


def _check_checkpoint(where: str, base: Path, section: TrainSection) -> None:
    init = section.trainer.get("init")
    for key in ("init", "tokenizer"):
        name = str(section.trainer.get(key) or "")
        if name and not (base / name / "tokenizer.json").is_file() and (key != "init" or not _own(section)):
            raise ConfigError(
                f"{where}: {key}: {base / name} has no tokenizer.json; name a checkpoint's folder"
            )
    if not init:
        return
    if not (base / init / "config.json").is_file():
        raise ConfigError(f"{where}: init: {base / init} has no config.json; name a checkpoint's folder")
    context = json.loads((base / init / "config.json").read_text("utf-8")).get("max_position_embeddings")
    wanted = section.trainer.get("seq_len", 128)
    if context is not None and isinstance(wanted, int) and wanted > context:
        raise ConfigError(f"{where}: seq_len is {wanted}, but the model of init knows {context} positions")


def _own(section: TrainSection) -> bool:
    return bool(section.trainer.get("tokenizer"))
