"""The log of a run: one JSON object a line, in the run's folder and, on request, on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.redact import masked

if TYPE_CHECKING:
    from pipeline.progress import Progress
    from pipeline.store import Store

LOG = logging.getLogger("tamis")
LOG.setLevel(logging.DEBUG)
LOG.addHandler(logging.NullHandler())

# What the display, the summary and the last lines of the command say themselves.
SAID = {"note", "node_started", "node_done", "node_books", "run_started", "run_done", "run_failed"}
SAID |= {"run_interrupted"}
PART_LINES = 2000  # of a log in an object store, which cannot be appended to


def event(name: str, text: str = "", /, level: int = logging.INFO, **fields: Any) -> None:
    """One event for whoever listens: the run's folder, stderr, the metrics. None is left out."""
    known = {key: value for key, value in fields.items() if value is not None}
    LOG.log(level, "%s", text, extra={"event": name, "fields": known})


class JsonLines(logging.Formatter):
    """time, level, event, run, host, pid, message, then the event's own fields; never a credential."""

    def __init__(self, run: str | None = None) -> None:
        super().__init__()
        self._run = run
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "run": self._run,
            "host": self._host,
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        found = {key: value for key, value in found.items() if value not in (None, "")}
        found |= getattr(record, "fields", {})
        return json.dumps(masked(found), ensure_ascii=False, default=str)


class _File(logging.FileHandler):
    """Appends to a file. A log that cannot be written must not stop a run."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the disk is full, and the run itself will say so."""


class _Parts(logging.Handler):
    """A log in an object store: log-000000.jsonl and so on, each written again until it is full."""

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__()
        self._store, self._folder = store, folder
        self._lines: list[str] = []
        self._part = self._written = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        if len(self._lines) >= PART_LINES or record.levelno >= logging.ERROR:
            self.flush()

    def flush(self) -> None:
        """Write what came since the last time."""
        with self.lock or contextlib.nullcontext(), contextlib.suppress(Exception):
            if len(self._lines) == self._written:
                return
            data = "".join(f"{line}\n" for line in self._lines).encode()
            self._store.write(f"{self._folder}/log-{self._part:06d}.jsonl", data)
            self._written = len(self._lines)
            if self._written >= PART_LINES:
                self._part, self._lines, self._written = self._part + 1, [], 0

    def close(self) -> None:
        self.flush()
        super().close()


def json_line(name: str, text: str, level: str) -> str:
    """One line as the formatter writes it, for what is said after the run."""
    record = LOG.makeRecord(LOG.name, getattr(logging, level.upper()), "", 0, text, (), None)
    record.event = name
    return JsonLines().format(record)


def log_file(store: Store, folder: str, run: str) -> logging.Handler:
    """Writes every event to the run's folder until it is closed with `end`."""
    handler: logging.Handler
    if store.is_local:
        with store.writing():
            os.makedirs(store.path(folder), exist_ok=True)
        handler = _File(store.path(f"{folder}/log.jsonl"), encoding="utf-8", errors="replace", delay=True)
    else:
        handler = _Parts(store, folder)
    handler.setFormatter(JsonLines(run))
    LOG.addHandler(handler)
    return handler


def end(handler: logging.Handler) -> None:
    """Takes a handler away and closes it."""
    LOG.removeHandler(handler)
    handler.close()


def read_log(store: Store, run: str) -> Iterator[dict[str, Any]]:
    """The events of a run; a line that a kill cut off is passed over."""
    names = [n for n in store.list(f"runs/{run}") if n.split("/")[-1].startswith("log")]
    for name in names:
        for line in store.read(name).splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)


class Shown(logging.Handler):
    """Text for people: what the display does not say itself, as lines between its own."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        name, fields = getattr(record, "event", ""), getattr(record, "fields", {})
        if name in SAID:
            return
        told = " ".join(f"{key}={value}" for key, value in fields.items())
        parts = (record.levelname.lower(), name, told, record.getMessage())
        self._progress.line(" ".join(part for part in parts if part))


@contextmanager
def on_stderr(progress: Progress, format: str, level: str, stream: Any) -> Iterator[None]:
    """Events on stderr from that level on: as JSON lines in place of the display, or as lines within it."""
    handler = logging.StreamHandler(stream) if format == "json" else Shown(progress)
    if format == "json":
        handler.setFormatter(JsonLines())
    handler.setLevel(level.upper())
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
