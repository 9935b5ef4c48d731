"""Figures of a run for Prometheus: a file for node_exporter's textfile collector, and Ray's own endpoint."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from pipeline.errors import ConfigError
from pipeline.runlog import LOG

EVERY_S = 2.0  # how often the file is written

COUNTERS = {
    "tamis_tasks": "Tasks that ended.",
    "tamis_rows": "Rows that operators computed.",
    "tamis_dropped_rows": "Rows that operators dropped.",
    "tamis_quarantined_rows": "Rows set aside because an operator failed on them.",
    "tamis_stored_bytes": "Bytes written to the store.",
    "tamis_task_seconds": "Time of tasks.",
    "tamis_task_cpu_seconds": "CPU time of tasks.",
    "tamis_worker_deaths": "Workers that died over a task.",
    "tamis_retries": "Tasks that were handed out again.",
}
GAUGES = {
    "tamis_run_running": "Whether the run is under way.",
    "tamis_run_exit_code": "How the run ended, once it has.",
    "tamis_run_started_seconds": "When the run began, in Unix time.",
    "tamis_run_seen_seconds": "When the run last told its figures, in Unix time.",
}
# What of a task's event counts.
_OF_TASK = {
    "tamis_rows": "rows",
    "tamis_dropped_rows": "dropped",
    "tamis_quarantined_rows": "quarantined",
    "tamis_stored_bytes": "bytes",
    "tamis_task_seconds": "duration",
    "tamis_task_cpu_seconds": "cpu",
}


class Figures(Protocol):
    """Where counters and gauges go; `node` is empty for those of the whole run."""

    def add(self, name: str, node: str, value: float) -> None: ...
    def set(self, name: str, value: float) -> None: ...
    def flush(self, force: bool) -> None: ...


class FileFigures:
    """A file in Prometheus' text format, always whole: written beside itself and renamed."""

    def __init__(self, path: str, config: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._path, self._config, self._written = path, config, 0.0
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, about, ("config", "node"), registry=self._registry)
            for name, about in COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(name, about, ("config",), registry=self._registry) for name, about in GAUGES.items()
        }

    def add(self, name: str, node: str, value: float) -> None:
        self._counters[name].labels(self._config, node).inc(value)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].labels(self._config).set(value)

    def flush(self, force: bool) -> None:
        from prometheus_client import write_to_textfile

        if force or time.monotonic() - self._written >= EVERY_S:
            with contextlib.suppress(OSError):  # a full disk must not stop a run
                write_to_textfile(self._path, self._registry)
            self._written = time.monotonic()


@cache
def _of_ray() -> dict[str, Any]:
    from ray.util.metrics import Counter, Gauge

    tags = ("config", "node")
    counters = {name: Counter(name, description=about, tag_keys=tags) for name, about in COUNTERS.items()}
    gauges = {name: Gauge(name, description=about, tag_keys=tags[:1]) for name, about in GAUGES.items()}
    return {**counters, **gauges}


class RayFigures:
    """Ray's own metrics: every node of a cluster serves them, as ray_tamis_rows_total and so on."""

    def __init__(self, config: str) -> None:
        self._config, self._metrics = config, _of_ray()

    def add(self, name: str, node: str, value: float) -> None:
        if value > 0:
            self._metrics[name].inc(value, tags={"config": self._config, "node": node})

    def set(self, name: str, value: float) -> None:
        self._metrics[name].set(value, tags={"config": self._config})

    def flush(self, force: bool) -> None:
        """Ray sends them by itself."""


class Meter(logging.Handler):
    """Counts the events of a run's log."""

    def __init__(self, figures: list[Figures]) -> None:
        super().__init__()
        self._figures = figures
        for each in figures:
            each.set("tamis_run_running", 1)
            each.set("tamis_run_started_seconds", time.time())

    def emit(self, record: logging.LogRecord) -> None:
        name, fields = getattr(record, "event", ""), getattr(record, "fields", {})
        if name == "task":
            node = str(fields["node"]).split("@")[0]
            self._add("tamis_tasks", node, 1)
            for counter, field in _OF_TASK.items():
                self._add(counter, node, max(0.0, float(fields.get(field, 0))))
        elif name == "worker_died":
            self._add("tamis_worker_deaths", "", 1)
            self._add("tamis_retries", "", int(fields.get("again", False)))
        elif name in ("run_done", "run_failed", "run_interrupted"):
            for each in self._figures:
                each.set("tamis_run_running", 0)
                each.set("tamis_run_exit_code", float(fields.get("exit_code", 0)))
        for each in self._figures:
            each.set("tamis_run_seen_seconds", time.time())
            each.flush(force=name.startswith("run_"))

    def _add(self, name: str, node: str, value: float) -> None:
        for each in self._figures:
            each.add(name, node, value)


@contextmanager
def metered(config: str, engine: str, path: str | None) -> Iterator[None]:
    """Figures of the run in the block: in a file where there is a path, and in Ray's metrics on Ray.

    Raises ConfigError for a path that cannot be written."""
    figures: list[Figures] = []
    if path is not None:
        _check(path)
        figures.append(FileFigures(path, config))
    if engine == "ray":
        figures.append(RayFigures(config))
    if not figures:
        yield
        return
    meter = Meter(figures)
    LOG.addHandler(meter)
    try:
        yield
    finally:
        LOG.removeHandler(meter)


def _check(path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(path):
        raise ConfigError(f"--metrics {path}: {folder} is no folder that can be written; make it")
    if not path.endswith(".prom"):
        raise ConfigError(f"--metrics {path}: node_exporter reads files that end in .prom; call it so")
