"""The folder of a run: its lease on what it stands on, its state, its log, its data and its report."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import runlog
from pipeline.alive import me
from pipeline.config import Config, parse_config
from pipeline.errors import Interrupted, exit_code
from pipeline.manifest import Manifest
from pipeline.near_pins import repinned
from pipeline.nodes import Node
from pipeline.redact import bare, brief, masked, traced, veil_of, without_secrets
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.progress import NodeProgress, Progress

BEAT_S = 60.0
LEASE_S = 900.0  # a lease that has not been renewed for so long belongs to a dead run
STATE_S, FAR_STATE_S = 2.0, 15.0  # how often the state is written: on a file system, to an object store
MOST_ERROR = 2000  # characters of an error in the state


class Ledger:
    """Writes `runs/<id>/`. Names there may be rewritten: they are a diary, not values."""

    def __init__(
        self, store: Store, name: str, progress: Progress, about: dict[str, Any], redact: bool = False
    ) -> None:
        self.store, self.progress, self.redact = store, progress, redact
        now = time.time()  # to the millisecond, so that names sort as the runs began
        moment = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}"
        self.run_id = f"{moment}-{name}-{secrets.token_hex(2)}"
        self.folder = f"runs/{self.run_id}"
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._roots: set[str] = set()
        self._folders: set[str] = set()
        self._plan: list[dict[str, Any]] = []
        self._ended: set[str] = set()
        self._beats = 0
        self._every = STATE_S if store.is_local else FAR_STATE_S
        self.about = {"run": self.run_id, "name": name, "started": now, **about}
        self._log = runlog.log_file(store, self.folder, self.run_id)
        runlog.event("run_started", **self.about)
        self._lease()
        self._state()
        threading.Thread(target=self._beating, daemon=True).start()

    def begin(self, config: Config, nodes: Sequence[Node], manifests: Mapping[str, str]) -> None:
        """Lease the nodes' columns, and what the manifests (names by source) stand on."""
        self._roots |= {node.key for node in nodes}
        self.about["manifests"] = dict(manifests)
        self._plan = [{"name": n.name, "op": n.op, "shape": n.shape, "key": n.key} for n in nodes]
        self.store.write(f"{self.folder}/config.yaml", without_secrets(config.text).encode())
        self._lease()
        self._state()

    def hold(self, nodes: Iterable[Node] = (), folder: str | None = None) -> None:
        """Lease more: other columns, or a folder of the store."""
        keys, folders = {node.key for node in nodes}, {folder} if folder else set()
        if keys <= self._roots and folders <= self._folders:
            return
        with self._lock:
            self._roots |= keys
            self._folders |= folders
        self._lease()

    def ended(self, node: str) -> None:
        """The node is done, by work or because the store had it all."""
        self._ended.add(node)

    def _beating(self) -> None:
        leased = time.monotonic()
        while not self._stop.wait(self._every):
            with contextlib.suppress(Exception):  # the run itself meets what is wrong with the store
                self._state()
                self._log.flush()
                if time.monotonic() - leased >= BEAT_S:
                    self._lease()
                    leased = time.monotonic()

    def _lease(self, state: str = "running") -> None:
        with self._lock:
            if state == "running" and self._stop.is_set():
                return  # the last word has been said
            lease = {"state": state, "expires": time.time() + LEASE_S, **me()}
            lease |= {"nodes": sorted(self._roots), "folders": sorted(self._folders)}
            self.store.write(f"{self.folder}/lease.json", json.dumps(lease).encode())

    def _state(self, state: str = "running", **more: Any) -> None:
        """What `tamis status` shows."""
        with self._lock:
            if state == "running" and self._stop.is_set():
                return
            self._beats += 1
            now, shown = self.progress.snapshot()
            known = {node.name: node for node in shown}
            plan = [
                part | self._node(part["name"], known.pop(part["name"], None), now) for part in self._plan
            ]
            rest = [{"name": name, "op": None} | self._node(name, node, now) for name, node in known.items()]
            found = {
                **self.about, **me(), "state": state, "beat": self._beats, "every_s": self._every,
                "now": time.time(), "nodes": plan + rest, **more,
            }  # fmt: skip
            self.store.write(f"{self.folder}/state.json", json.dumps(masked(found), default=str).encode())

    def _node(self, name: str, node: NodeProgress | None, now: float) -> dict[str, Any]:
        if node is None:
            return {"state": "stored" if name in self._ended else "waiting", "rows": 0, "total": None}
        return {
            "state": "running" if node.ended is None else "done",
            "rows": node.rows, "total": node.total, "unit": node.unit, "kept": node.kept,
            "judged": node.judged, "rate": node.rate(now), "seconds": (node.ended or now) - node.started,
            "left_s": node.left_s(now),
        }  # fmt: skip

    def finish(self, found: dict[str, Any]) -> None:
        """The run's data, the report, and the end of the lease."""
        from pipeline.report import render

        self._stop.set()
        shown = veil_of(self.store).run(found) if self.redact else found
        text = json.dumps(masked(json.loads(json.dumps(shown, default=str))), indent=1)
        self.store.write(f"{self.folder}/run.json", text.encode())
        self.store.write(f"{self.folder}/report.html", render(json.loads(text)).encode())
        found["report"] = self.store.path(f"{self.folder}/report.html")
        for node in found["nodes"]:
            told = ("rows_in", "rows_out", "dropped", "quarantined", "computed_rows", "cached_rows")
            runlog.event("node_books", node=node["name"], **{name: node[name] for name in told})
        runlog.event("run_done", duration=found["seconds"], rows=found["source"]["rows"], kept=found["kept"])
        self._close("done", exit_code=0, disk=found.get("disk"))

    def fail(self, error: BaseException) -> None:
        """The traceback goes to the log, whatever the terminal shows."""
        self._stop.set()
        interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
        text = bare(error) if self.redact else traced(error)
        short = brief(error) if self.redact and not interrupted else str(error) or type(error).__name__
        with contextlib.suppress(Exception):  # the disk may be full: the error itself must come through
            self.store.write(f"{self.folder}/error.log", text.encode())
        runlog.event(
            "run_interrupted" if interrupted else "run_failed",
            short,
            logging.WARNING if interrupted else logging.ERROR,
            exception=text,
            resume=self.about.get("command"),
            exit_code=exit_code(error),
        )
        with contextlib.suppress(Exception):
            ending = "interrupted" if interrupted else "failed"
            self._close(ending, exit_code=exit_code(error), error=short[:MOST_ERROR])

    def _close(self, state: str, **more: Any) -> None:
        runlog.end(self._log)
        self._state(state, **more)
        self._lease(state)


def known_runs(store: Store) -> list[str]:
    """The ids of all runs, also of those that failed, oldest first."""
    return sorted({name.split("/")[1] for name in store.list("runs")})


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
    # The run data have no credentials: where today's text is the same but for them, it has them.
    text = config.text if without_secrets(config.text) == run["config"] else run["config"]
    then = parse_config(text, config.file, run.get("sets", ()))
    then = repinned(then, run.get("pins", {}))
    return then, {name: Manifest.from_json(store.read(rel)) for name, rel in run["manifests"].items()}
