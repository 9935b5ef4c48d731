"""What `tamis index` and `tamis similar` do."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, DataError
from pipeline.units import count, nbytes

if TYPE_CHECKING:
    from pipeline.near_index import NearIndex, State


def index(arguments: argparse.Namespace) -> int:
    """One of the commands on an index."""
    actions = {"new": _new, "add": _add, "info": _info, "prune": _prune, "export": _export}
    return actions[arguments.action](arguments)


def _new(arguments: argparse.Namespace) -> int:
    from pipeline.near_index import NearIndex, State

    made = NearIndex(arguments.index)
    if made.state().number:
        raise ConfigError(f"{made.path} is an index already; add to it with `tamis index add`")
    made.commit(State(), ())
    print(f"made an empty near-duplicate index in {made.path}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from pipeline.commands import _found_config
    from pipeline.engine import make_engine
    from pipeline.near_index import NearIndex
    from pipeline.near_index_add import add
    from pipeline.prepare import RunOptions, open_store

    config = _found_config(arguments)
    store = open_store(config, RunOptions(store=arguments.store))
    run_id = None if arguments.run == "last" else arguments.run
    to = NearIndex(arguments.index)
    how = (arguments.workers, arguments.address, arguments.memory or config.memory)
    with closing(make_engine(arguments.engine, *how)) as engine:
        try:
            added = add(to, store, config, run_id, arguments.node, engine)
        except FileNotFoundError as error:
            raise ConfigError(str(error)) from error
    if not added.new:
        print(f"{to.path} has these {count(added.documents)} documents already; nothing changed")
        return 0
    print(f"added {count(added.documents)} documents to {to.path} (version {added.state.number})")
    if added.left_out:
        print(f"  {count(added.left_out)} kept documents have nothing to compare and are not in it")
    if added.replaced:
        print(
            f"  they replace those that an earlier run over this source added ({', '.join(added.replaced)})"
        )
    if added.superseded:
        print(f"  {count(added.superseded)} earlier documents were superseded and are gone")
    if added.note:
        print(f"  note: {added.note}")
    print(_size(to, added.state))
    return 0


def _size(index: NearIndex, state: State) -> str:
    from pipeline.near_index import files_of

    opened = index.open(state)
    size = sum(bytes_ for part in opened.parts for _, bytes_ in files_of(part.record))
    each = f", {size // opened.documents:,} bytes a document" if opened.documents else ""
    return f"{count(opened.documents)} documents in {len(opened.parts)} parts, {nbytes(size)}{each}"


def _info(arguments: argparse.Namespace) -> int:
    from pipeline.near_index import NearIndex, check_content, files_of

    found = NearIndex(arguments.index)
    state = found.existing()
    parts = found.open(state).parts
    print(f"{found.path}, version {state.number}: {_size(found, state)}")
    for number, part in enumerate(parts, 1):
        made = part.record["made_of"]
        size = sum(bytes_ for _, bytes_ in files_of(part.record))
        removes = part.record["removes"]
        gone = f", supersedes {count(removes['rows'])}" if removes else ""
        sources = ", ".join(sorted({docs.source for docs in part.docs}))
        print(
            f"  {number}. {part.name}: {count(part.rows)} documents of {sources or 'nothing'}, "
            f"{nbytes(size)}{gone} (run {made['run']}, {made['node']})"
        )
    if parts:
        print(f"scheme: {parts[0].scheme}")
    if arguments.check:
        for part in parts:
            check_content(part)
        print("every file has the content that it was written with")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    from pipeline.near_index import NearIndex, prune

    freed = prune(NearIndex(arguments.index))
    print(f"deleted {nbytes(freed)} that the newest version does not need")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from pipeline.near_export import export_datasketch
    from pipeline.near_index import NearIndex

    found = NearIndex(arguments.index)
    opened = found.open(found.existing())
    try:
        rows = export_datasketch(opened, Path(arguments.to[1]), arguments.redis)
    except OSError as error:
        raise ConfigError(f"{arguments.to[1]} cannot be written: {error.strerror or error}") from error
    where = f"{arguments.to[1]} and the Redis at {arguments.redis}" if arguments.redis else arguments.to[1]
    print(f"wrote {count(rows)} documents as a datasketch MinHashLSH to {where}")
    print(
        f"query it with this index's own signatures (datasketch's MinHash would make others):\n"
        f"  from pipeline.near_export import query_minhash\n"
        f"  from pipeline.near_index import NearIndex\n"
        f"  index = NearIndex({arguments.index!r})\n"
        f"  known = index.open(index.existing())\n"
        f"  pickle.load(open({arguments.to[1]!r}, 'rb')).query(query_minhash(known, 'some text'))"
    )
    return 0


def similar(arguments: argparse.Namespace) -> int:
    """Prints the indexed documents that are nearest to a text."""
    from pipeline.near_index import NearIndex
    from pipeline.near_similar import similar_documents

    if (arguments.text is None) == (arguments.file is None):
        raise ConfigError("give a text, or a file of it with --file")
    text = arguments.text
    if arguments.file is not None:
        try:
            text = Path(arguments.file).read_text("utf-8", "replace")
        except OSError as error:
            raise DataError(f"{arguments.file}: {error.strerror}; give the path of a text file") from error
    found = NearIndex(arguments.index)
    near = similar_documents(found.open(found.existing()), text, arguments.top, arguments.threshold)
    for document in near:
        head = " ".join(document.head.split())
        print(f"{document.similarity:.4f}  {document.id}  ({document.source})  {head}")
    if not near:
        print(f"no indexed document with a Jaccard index of {arguments.threshold:g} or more was found")
    return 0
