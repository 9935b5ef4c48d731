"""The arguments of `tamis index` and `tamis similar`."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli_arguments import add_engine, plain, positive, share, where


def add_index(commands: Any) -> None:
    made = commands.add_parser(
        "index", help="grow a near-duplicate index, or look at one",
        description="Grow a near-duplicate index on disk, or look at one. A node with `against: [INDEX]`\n"
        "drops what is near an indexed document, so that a new month of data costs only itself.",
        epilog="examples:\n  tamis index add known/ --config january.yaml\n  tamis index info known/",
    )  # fmt: skip
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = plain(actions, "new", "make an empty index", "tamis index new known/", "")
    example = "tamis index add known/ --config web.yaml\n  tamis index add known/ last --node fuzzy"
    add = plain(
        actions, "add", "add what a finished run kept", example,
        "The same run twice changes nothing; a later run over the same source replaces the earlier one.",
    )  # fmt: skip
    info = plain(actions, "info", "say what an index holds", "tamis index info known/ --check", "")
    export = plain(
        actions, "export", "write an index for another tool",
        "tamis index export known/ --to datasketch known.pkl --redis localhost:6379", "",
    )  # fmt: skip
    prune = plain(
        actions, "prune", "delete what only older versions need", "tamis index prune known/",
        "Runs that met an older version cannot be looked into by `tamis why` any more.",
    )  # fmt: skip
    for action in (new, add, info, prune, export):
        action.add_argument("index", metavar="INDEX", help="the index's folder")
    add.add_argument("run", metavar="RUN", nargs="?", default="last", help="a run's name (default: last)")
    add.add_argument("--node", metavar="NAME", help="the minhash_dedup node (default: the only one)")
    where(add)
    add_engine(add, "add")
    info.add_argument("--check", action="store_true", help="read every file and compare it with its checksum")
    export.add_argument(
        "--to", nargs=2, required=True, action=_To, metavar=("TOOL", "FILE"),
        help="datasketch and the file of a pickled MinHashLSH",
    )  # fmt: skip
    export.add_argument("--redis", metavar="HOST:PORT", help="keep the tables in this Redis server")


class _To(argparse.Action):
    """The tool and the file of an export."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if values[0] != "datasketch":
            parser.error(f"--to {values[0]}: no such tool; there is datasketch")
        namespace.to = values


def add_similar(commands: Any) -> None:
    example = (
        'tamis similar "It was the best of times" --index known/\n  tamis similar --file a.txt --index known/'
    )
    made = plain(
        commands, "similar", "find the indexed documents that are nearest to a text", example,
        "Documents that share a band with the text are compared exactly: near the index's own threshold\n"
        "nearly all are found, far below it few.",
    )  # fmt: skip
    made.add_argument("text", metavar="TEXT", nargs="?", help="the text")
    made.add_argument("--file", metavar="F", help="read the text from this file instead")
    made.add_argument("--index", required=True, metavar="INDEX", help="the index's folder")
    made.add_argument("--top", type=positive, default=10, metavar="N", help="documents at most (default: 10)")
    made.add_argument(
        "--threshold", type=share, default=0.5, metavar="T", help="least Jaccard index (default: 0.5)"
    )
