"""What each command does. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from pipeline.clean import Cleaned
    from pipeline.config import Config
    from pipeline.prepare import RunOptions
    from pipeline.progress import Progress
    from pipeline.store import Store


def tamis_version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tamis")
    except PackageNotFoundError:
        return "unknown"


def run(arguments: argparse.Namespace) -> int:
    """Runs the config, then prints the funnel and where the report is."""
    with _told(arguments) as progress:
        progress.note(f"tamis {tamis_version()}: reading {arguments.config}")
        config = _config(arguments)
        from pipeline.run import run as run_config

        data = run_config(config, _options(arguments), progress)
    from pipeline.summary import print_summary

    print_summary(data, sys.stdout, data.get("report"))
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Trains one recipe on a folder of documents, and prints what came of it."""
    from pipeline.train_alone import lines, train_alone

    with _told(arguments) as progress:
        found, out = train_alone(arguments.config, arguments.sets, arguments.workers, progress)
    print("\n".join(lines(found, out)))
    return 0


@contextmanager
def _told(arguments: argparse.Namespace) -> Iterator[Progress]:
    """The display that the options ask for, with the log on stderr, and interruptions that end the command
    in good order."""
    from pipeline.progress import Progress
    from pipeline.runlog import on_stderr

    quiet = arguments.log_format == "json" or arguments.log_level in ("warning", "error")
    with (
        _interruptions(arguments.given),
        Progress(plain=arguments.plain, quiet=quiet) as progress,
        on_stderr(progress, arguments.log_format, arguments.log_level, sys.stderr),
    ):
        yield progress


@contextmanager
def _interruptions(command: str) -> Iterator[None]:
    """Ctrl-C ends the run, resumable; so does SIGTERM, which a cluster that takes the machine away sends.
    The second one does not wait for what is under way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            # Nothing is lost: whatever is committed is whole, at any moment.
            os.write(2, f"\nended at once\nresume with: {without_secrets(command)}\n".encode())
            os._exit(Interrupted.exit_code)
        asked = True
        raise KeyboardInterrupt

    from pipeline.redact import without_secrets

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def plan(arguments: argparse.Namespace) -> int:
    """Prints the plan; nothing runs."""
    config = _config(arguments)
    from pipeline.plan import make_plan

    made = make_plan(config, _options(arguments))
    print(made.text())
    if disk := made.disk():
        print(disk)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Prints how far a run is or how it ended; its exit code."""
    from pipeline import status as states

    store = _found_store(arguments)
    if arguments.all:
        runs = states.listing(store)
        print(json.dumps(runs, indent=1) if arguments.json else states.listed(runs))
        return 0
    found = states.status(store, arguments.run)
    print(json.dumps(found, indent=1, default=str) if arguments.json else states.text(found))
    return int(found["exit_code"])


def _found_store(arguments: argparse.Namespace) -> Store:
    """The store that is named; else that of the config that is, or of the only one in this folder."""
    from pipeline.prepare import RunOptions, open_store
    from pipeline.store import Store

    if arguments.store and not arguments.config:
        return Store(arguments.store if "://" in arguments.store else str(Path(arguments.store).resolve()))
    return open_store(_found_config(arguments), RunOptions(store=arguments.store))


def why(arguments: argparse.Namespace) -> int:
    """Prints what happened to one document."""
    config = _found_config(arguments)
    from pipeline.prepare import RunOptions
    from pipeline.why import why as why_document

    run_id = None if arguments.run == "last" else arguments.run
    try:
        options = RunOptions(store=arguments.store, redact=arguments.redact)
        print(why_document(config, options, run_id, arguments.document))
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Renders the report again, into the run's folder, and prints its path."""
    config = _found_config(arguments)
    from pipeline.ledger import load_run
    from pipeline.prepare import RunOptions, open_store
    from pipeline.report import render

    store = open_store(config, RunOptions(store=arguments.store))
    try:
        data = load_run(store, arguments.run, config.file.stem)
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    if config.redact or arguments.redact:
        from pipeline.redact import veil_of

        data = veil_of(store).run(data)
    name = f"runs/{data['run']}/report.html"
    store.write(name, render(data).encode())
    print(store.path(name))
    return 0


def ops(arguments: argparse.Namespace) -> int:
    """Lists operators, describes one, or checks the laws on a user's file."""
    if arguments.check:
        return _check(arguments)
    from pipeline.describe import describe, overview

    if arguments.name:
        print(describe(arguments.name, Path.cwd()))
    else:
        print(overview())
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from pipeline.engine import ENGINES
    from pipeline.suggest import did_you_mean

    engines = [name.strip() for name in arguments.engines.split(",")]
    for name in engines:
        if name not in ENGINES:
            raise ConfigError(
                f"--engines {arguments.engines}: no engine {name!r}{did_you_mean(name, ENGINES)}"
            )
    from pipeline.laws import check_file

    results = list(check_file(arguments.check, engines))
    for law, holds, text in results:
        print(
            f"{'ok  ' if holds else 'FAIL'}  {law}: {text}"
            if text
            else f"{'ok  ' if holds else 'FAIL'}  {law}"
        )
    broken = [law for law, holds, _ in results if not holds]
    if broken:
        raise ConfigError(
            f"{arguments.check} breaks {len(broken)} of {len(results)} laws: {', '.join(broken)}"
        )
    return 0


def schema(arguments: argparse.Namespace) -> int:
    """Prints the JSON schema of the whole config."""
    from pipeline.schema import config_schema

    print(json.dumps(config_schema(), indent=2))
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """Deletes what no recent run needs, and says how much that was."""
    from pipeline.clean import clean as clean_store
    from pipeline.clean import told

    store = _found_store(arguments)
    refused = False

    def agree(cleaned: Cleaned) -> bool:
        nonlocal refused
        if arguments.yes or not cleaned.bytes or not sys.stdin.isatty():
            return True
        print(told(cleaned, store.url, dry_run=True))
        refused = input("delete this? [y/N] ").strip().lower() not in ("y", "yes")
        return not refused

    cleaned = clean_store(
        store, arguments.keep, arguments.dry_run, arguments.older_than, arguments.max_size, agree
    )
    print("nothing was deleted" if refused else told(cleaned, store.url, arguments.dry_run))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Prints what of this machine is fit for a run, and what to do about the rest."""
    from pipeline.doctor import examine

    store = arguments.store
    if arguments.config:
        from pipeline.config import load_config
        from pipeline.prepare import RunOptions, open_store

        store = open_store(load_config(arguments.config), RunOptions(store=store)).url
    return examine(store, sys.stdout)


def version(arguments: argparse.Namespace) -> int:
    """Prints the version."""
    print(f"tamis {tamis_version()}")
    return 0


def _config(arguments: argparse.Namespace) -> Config:
    from pipeline import late_pandas
    from pipeline.config import load_config

    late_pandas.leave_out()
    return load_config(arguments.config, arguments.sets)


def _options(arguments: argparse.Namespace) -> RunOptions:
    from pipeline.prepare import RunOptions

    return RunOptions(
        engine=arguments.engine,
        workers=arguments.workers,
        store=arguments.store,
        address=arguments.address,
        memory=arguments.memory,
        batch_rows=arguments.batch_rows,
        device=arguments.device,
        accept_source=arguments.accept_source,
        command=arguments.given,
        redact=getattr(arguments, "redact", False),
        metrics=getattr(arguments, "metrics", None),
        allow=tuple(getattr(arguments, "allow", ())),
    )


def _found_config(arguments: argparse.Namespace) -> Config:
    """The config that was named, else the only one in the working folder."""
    from pipeline.config import load_config

    if arguments.config:
        return load_config(arguments.config)
    found = sorted(path for path in Path().glob("*.y*ml") if "nodes:" in path.read_text("utf-8", "replace"))
    if len(found) != 1:
        there = f"; there are: {', '.join(map(str, found))}" if found else ""
        raise ConfigError(f"{len(found)} configs in this folder{there}; say which with --config")
    return load_config(found[0])


def index(arguments: argparse.Namespace) -> int:
    """Makes, grows, describes or exports a near-duplicate index."""
    from pipeline.index_commands import index as index_command

    return index_command(arguments)


def similar(arguments: argparse.Namespace) -> int:
    """Prints the indexed documents that are nearest to a text."""
    from pipeline.index_commands import similar as similar_command

    return similar_command(arguments)


def budget(arguments: argparse.Namespace) -> int:
    """Fits a scaling law, plans a budget, or says what repeats are worth."""
    from pipeline.budget.commands import budget as budget_command

    return budget_command(arguments)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "plan": plan,
    "train": train,
    "status": status,
    "why": why,
    "report": report,
    "ops": ops,
    "schema": schema,
    "clean": clean,
    "index": index,
    "similar": similar,
    "budget": budget,
    "doctor": doctor,
    "version": version,
}
