"""The folder of a run: its lease on what it stands on, its log, its data and its report."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

from pipeline.config import Config, parse_config
from pipeline.manifest import Manifest
from pipeline.near_pins import repinned
from pipeline.nodes import Node
from pipeline.store import Store

BEAT_S = 60.0
LEASE_S = 900.0  # a lease that has not been renewed for so long belongs to a dead run


class Ledger:
    """Writes `runs/<id>/`. Names there may be rewritten: they are a diary, not values."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        now = time.time()  # to the millisecond, so that names sort as the runs began
        moment = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}"
        self.run_id = f"{moment}-{name}-{secrets.token_hex(2)}"
        self.folder = f"runs/{self.run_id}"
        self._stop = threading.Event()
        self._roots: list[str] = []

    def begin(self, config: Config, nodes: Sequence[Node]) -> None:
        """Lease the nodes' columns for as long as the run beats."""
        self._roots = sorted({node.key for node in nodes})
        self.store.write(f"{self.folder}/config.yaml", config.text.encode())
        self._beat()
        threading.Thread(target=self._beats, daemon=True).start()

    def _beats(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._beat()

    def _beat(self, state: str = "running") -> None:
        lease = {
            "state": state,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "expires": time.time() + LEASE_S,
            "nodes": self._roots,
        }
        self.store.write(f"{self.folder}/lease.json", json.dumps(lease).encode())

    def finish(self, found: dict[str, Any]) -> None:
        """The run's data, the report, and the end of the lease."""
        from pipeline.report import render

        self._stop.set()
        text = json.dumps(found, indent=1, default=str)
        self.store.write(f"{self.folder}/run.json", text.encode())
        self.store.write(f"{self.folder}/report.html", render(json.loads(text)).encode())
        found["report"] = self.store.path(f"{self.folder}/report.html")
        self._beat("done")

    def fail(self, error: BaseException) -> None:
        """The traceback goes to the log, whatever the terminal shows."""
        self._stop.set()
        self.store.write(f"{self.folder}/error.log", "".join(traceback.format_exception(error)).encode())
        self._beat("failed")


def runs(store: Store) -> list[str]:
    """The ids of finished runs, oldest first."""
    return sorted(name.split("/")[1] for name in store.list("runs") if name.endswith("/run.json"))


def load_run(store: Store, run_id: str | None, name: str | None = None) -> dict[str, Any]:
    """The data of a run (the last one where none is named, of the config called `name` where that is
    given); FileNotFoundError lists the runs there are."""
    known = runs(store)
    if run_id in (None, "last"):
        known = [run for run in known if name is None or run.partition("-")[2].rpartition("-")[0] == name]
    chosen = known[-1] if run_id in (None, "last") and known else run_id
    matches = [name for name in known if chosen and name.startswith(chosen)]
    if len(matches) != 1:
        listed = ", ".join(known[-5:]) or "none"
        raise FileNotFoundError(f"no run {run_id or 'last'!r} in {store.url}; the latest are: {listed}")
    data: dict[str, Any] = json.loads(store.read(f"runs/{matches[0]}/run.json"))
    return data


def rebuild(store: Store, config: Config, run: dict[str, Any]) -> tuple[Config, dict[str, Manifest]]:
    """The config and the manifests of a finished run, whatever the config file says today."""
    then = parse_config(run["config"], config.file, run.get("sets", ()))
    then = repinned(then, run.get("pins", {}))
    return then, {name: Manifest.from_json(store.read(rel)) for name, rel in run["manifests"].items()}
