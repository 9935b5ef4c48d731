"""The command line: parses arguments, sends errors to exit codes, and says what to do next."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

# Only the standard library is imported here: `tamis --help` must come at once. The commands import the rest.
from pipeline.budget.arguments import add_budget
from pipeline.cli_arguments import (
    Parser,
    add_engine,
    add_log,
    age,
    count,
    device,
    plain,
    positive,
    size,
    where,
)
from pipeline.errors import TamisError, TooMuchDropped, exit_code
from pipeline.index_parser import add_index, add_similar

DONE, BUG, BAD_CONFIG, BAD_DATA, RESUMABLE = 0, 1, 2, 3, 4
EXIT_CODES = (
    """exit codes: 0 done, 1 a bug, 2 bad config, 3 bad data, 4 interrupted or resource trouble (resumable)"""
)


def parser() -> argparse.ArgumentParser:
    """Every command and option of `tamis`."""
    top = Parser(
        prog="tamis",
        description="Sieve a raw text corpus down to the smallest, best-ordered training set, and prove it.",
        epilog="examples:\n"
        "  tamis plan quickstart.yaml                              what would run, nothing does\n"
        "  tamis run quickstart.yaml --set nodes.fuzzy.threshold=0.7\n"
        "  tamis why last doc-17                                   why this document went, or stayed\n"
        f"  tamis ops minhash_dedup                                 an operator's fields\n\n{EXIT_CODES}",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _run_like(commands, "run", "run a config: filter, order, export, train, report", "run the nodes")
    _run_like(commands, "plan", "show what a run would do, and check the config", "show the plan")
    _train(commands)
    _status(commands)
    _why(commands)
    _report(commands)
    _ops(commands)
    plain(
        commands, "schema", "print the JSON schema of configs", "tamis schema > tamis.schema.json",
        "Begin a config with `# yaml-language-server: $schema=tamis.schema.json` and editors complete it.",
    )  # fmt: skip
    _clean(commands)
    add_index(commands)
    add_similar(commands)
    add_budget(commands)
    _doctor(commands)
    plain(commands, "version", "print the version", "tamis version", "")
    return top


def _run_like(commands: Any, name: str, text: str, verb: str) -> None:
    example = (
        f"tamis {name} quickstart.yaml\n"
        f"  tamis {name} web.yaml --set nodes.fuzzy.threshold=0.7 --set seed=3\n"
        f"  tamis {name} web.yaml --engine ray --address auto --store s3://bucket/tamis"
    )
    made = plain(commands, name, text, example, EXIT_CODES)
    made.add_argument("config", metavar="CONFIG", help="a YAML config")
    _set(made, "nodes.fuzzy.threshold=0.7")
    add_engine(made, verb)
    made.add_argument("--store", metavar="URL", help="folder or URL of computed columns (default: .tamis)")
    made.add_argument("--batch-rows", type=positive, metavar="N", help="rows that an operator gets at once")
    made.add_argument(
        "--device",
        type=device,
        default="auto",
        metavar="D",
        help="auto, cpu, cuda or cuda:N (default: auto)",
    )
    made.add_argument(
        "--accept-source", action="store_true", help="go on although source files changed or went"
    )
    if name == "run":
        made.add_argument(
            "--allow", action="append", default=[], metavar="NODE",
            help="let this node (or all) drop more of a source than max_drop_share; may be given again",
        )  # fmt: skip
    if name == "run":
        add_log(made)
        made.add_argument("--metrics", metavar="FILE", help="figures for Prometheus' textfile collector")
        made.add_argument("--redact", action="store_true", help="no document in logs and report")
    else:
        made.add_argument("--plain", action="store_true", help="lines instead of the live display")


def _train(commands: Any) -> None:
    made = plain(
        commands, "train", "train a model on a folder of documents", "tamis train recipe.yaml --set lr=1e-3",
        "The file has the keys data, holdout and out (folders), shuffle and seeds, and the trainer's own,\n"
        f"as under `train:` of a config. A run that died goes on at its last checkpoint.\n{EXIT_CODES}",
    )  # fmt: skip
    made.add_argument("config", metavar="FILE", help="a YAML file")
    _set(made, "lr=1e-3")
    made.add_argument("--workers", type=positive, metavar="N", help="runs at a time (default: all seeds)")
    add_log(made)


def _set(made: argparse.ArgumentParser, example: str) -> None:
    made.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="sets",
        help=f"change the config, as in {example}; may be given again",
    )  # fmt: skip


def _status(commands: Any) -> None:
    example = "tamis status\n  tamis status --store s3://bucket/tamis --json\n  tamis status --all"
    made = plain(
        commands, "status", "say how far a run is, or how it ended", example,
        "From any machine that sees the store. The exit code is the run's: 0 running or done,\n"
        "4 interrupted, killed or silent (resumable), else as it failed; 2 also where there is no such run.",
    )  # fmt: skip
    where(made)
    made.add_argument("run", metavar="RUN", nargs="?", help="a run's name (default: the latest)")
    made.add_argument("--all", action="store_true", help="list all runs with their states")
    made.add_argument("--json", action="store_true", help="as JSON")


def _why(commands: Any) -> None:
    example = "tamis why last doc-17\n  tamis why --config web.yaml 20250101-120000-ab12 uid:4711"
    made = plain(commands, "why", "say which node dropped a document, and on which evidence", example, "")
    where(made)
    made.add_argument("run", metavar="RUN", help="a run's name, the start of one, or last")
    made.add_argument("document", metavar="DOC_ID", help="the document's id, or its uid")
    made.add_argument("--redact", action="store_true", help="hash ids, show no text")


def _report(commands: Any) -> None:
    made = plain(commands, "report", "write report.html again and print its path", "tamis report last", "")
    where(made)
    made.add_argument("run", metavar="RUN", nargs="?", default="last", help="a run's name (default: last)")
    made.add_argument("--redact", action="store_true", help="hash ids, show no text")


def _ops(commands: Any) -> None:
    example = "tamis ops\n  tamis ops minhash_dedup\n  tamis ops --check ./my_op.py --engines local,ray"
    made = plain(commands, "ops", "list operators, describe one, or check your own", example, "")
    made.add_argument(
        "name", metavar="NAME", nargs="?", help="an operator's name, or a file such as ./my_op.py"
    )
    made.add_argument("--check", metavar="FILE", help="try the laws on the operator in this file")
    made.add_argument("--engines", default="local", metavar="E,E", help="with --check: local, ray or both")


def _clean(commands: Any) -> None:
    made = plain(
        commands, "clean", "delete what no recent run needs from the store",
        "tamis clean --keep 2 --dry-run\n  tamis clean --older-than 30d --max-size 200GB --yes",
        "What a running run has leased always stays. Everything that goes can be computed again.",
    )  # fmt: skip
    where(made)
    made.add_argument("--keep", type=count, default=5, metavar="N", help="newest runs to keep (default: 5)")
    made.add_argument(
        "--older-than", type=age, metavar="AGE", help="also drop runs older than this: 12h, 30d"
    )
    made.add_argument(
        "--max-size", type=size, metavar="SIZE", help="also drop the oldest runs until 50GB stay"
    )
    made.add_argument("--dry-run", action="store_true", help="say what would go")
    made.add_argument("--yes", action="store_true", help="do not ask, on a terminal")


def _doctor(commands: Any) -> None:
    made = plain(commands, "doctor", "check this machine: packages, devices, disk, store", "tamis doctor", "")
    made.add_argument("config", metavar="CONFIG", nargs="?", help="also look at this config's store")
    made.add_argument("--store", metavar="URL", help="also look at this store")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parser().parse_args(given)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else BAD_CONFIG
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    arguments.given = shlex.join(["tamis", *given])
    from pipeline.streams import without_secrets

    with without_secrets():
        return _guarded(arguments)


def _guarded(arguments: argparse.Namespace) -> int:
    """The command with every exception turned into a message, an exit code and a next step."""
    try:
        from pipeline import memory

        memory.keep_freed()  # before anything imports pyarrow
        from pipeline import commands, numba_cache

        numba_cache.prepare()
        code = commands.COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what remains cannot be written either
        return DONE
    except KeyboardInterrupt:
        _say("interrupted", arguments)
        return _next(arguments, RESUMABLE)
    except Exception as error:
        code = exit_code(error)
        if arguments.debug:
            import traceback

            traceback.print_exc()
        _say(_message(error, code), arguments, error=True)
        if code in (BUG, BAD_DATA) and not arguments.debug:
            kept = "; error.log in the run's folder has it" if arguments.command == "run" else ""
            _say(f"--debug shows the traceback{kept}", arguments)
        if isinstance(error, TooMuchDropped):
            _say(f"next: change the config, or: {arguments.given} --allow {error.node}", arguments)
            return code
        return _next(arguments, code)


def _message(error: Exception, code: int) -> str:
    text = str(error)
    if not isinstance(error, TamisError):
        return f"error: {type(error).__name__}: {text}" if text else f"error: {type(error).__name__}"
    lines = text.splitlines() or [type(error).__name__]
    if code == BAD_CONFIG and len(lines) > 1:
        return "\n".join([f"error: {len(lines)} problems", *(f"  {line}" for line in lines)])
    return f"error: {text}"


def _next(arguments: argparse.Namespace, code: int) -> int:
    """Prints the last line: what to do now."""
    _say(_advice(arguments, code), arguments)
    return code


def _advice(arguments: argparse.Namespace, code: int) -> str:
    again = arguments.given
    running = arguments.command in ("run", "train")
    if code == RESUMABLE:
        return f"resume with: {again}" if running else f"try again: {again}"
    if code == BAD_CONFIG and arguments.command in ("run", "plan"):
        return f"next: fix this, then: {shlex.join(_plan(arguments))}"
    if code in (BAD_CONFIG, BAD_DATA) and arguments.command == "train":
        return f"next: fix this; then: {again}"
    if code == BAD_CONFIG:
        return f"next: tamis {arguments.command} --help"
    if code == BAD_DATA and running:
        return f"next: fix the data; then: {again}"
    if code == BUG:
        return f"next: this should not happen; report it with what this prints: {again} --debug"
    return f"next: {again}"


def _plan(arguments: argparse.Namespace) -> list[str]:
    """The plan of the same config: it takes fewer options than a run."""
    sets = [part for given in arguments.sets for part in ("--set", given)]
    store = ["--store", arguments.store] if arguments.store else []
    return ["tamis", "plan", arguments.config, *sets, *store]


def _say(text: str, arguments: argparse.Namespace, error: bool = False) -> None:
    """A line on stderr, as JSON where the log there is JSON."""
    if getattr(arguments, "log_format", "text") == "json":
        from pipeline.runlog import json_line

        text = json_line("error" if error else "message", text, "error" if error else "info")
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
