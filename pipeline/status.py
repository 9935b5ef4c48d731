"""What a run does, or how it ended: read from its folder in the store, from any process or machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from pipeline.alive import lives
from pipeline.disk import disk_use, told
from pipeline.errors import ConfigError
from pipeline.ledger import BEAT_S, LEASE_S, known_runs
from pipeline.redact import masked
from pipeline.store import Store
from pipeline.units import NONE, count, percent, seconds

LATE = 3.0  # beats that may fail to come before a run on another machine is looked at for a while
# killed: its process is gone. silent: another machine's process no longer beats.
EXIT_CODES = {"running": 0, "done": 0, "interrupted": 4, "killed": 4, "silent": 4}
MARKS = {"waiting": "waits", "stored": "in store"}


def status(store: Store, run: str | None = None, watch: bool = True) -> dict[str, Any]:
    """The state of a run (None: of the latest) as data. ConfigError where there is none.

    watch: look for some seconds whether a run on another machine beats, where its last beat is not recent."""
    known = known_runs(store)
    chosen = known[-1:] if run in (None, "last") else [name for name in known if name.startswith(run or "")]
    if len(chosen) != 1:
        listed = ", ".join(known[-5:]) or "none"
        raise ConfigError(f"no run {run or 'last'!r} in {store.url}; the latest are: {listed}")
    found = _read(store, chosen[0])
    found["state"], found["seen_s"] = _truth(store, chosen[0], found, watch)
    found["seconds"] = max(0.0, _last_sign(found) - float(found.get("started") or _last_sign(found)))
    keys = [node["key"] for node in found["nodes"] if node.get("key")]
    found["disk"] = disk_use(store, keys, (found.get("disk") or {}).get("new_bytes"))
    code = EXIT_CODES.get(found["state"], 4)
    found["exit_code"] = found.get("exit_code") or code if found["state"] == "failed" else code
    if found["state"] == "done":
        found["report"] = store.path(f"runs/{chosen[0]}/report.html")
    found["next"] = _next(found)
    result: dict[str, Any] = masked(found)
    return result


def _read(store: Store, run: str) -> dict[str, Any]:
    """The state file; of a run that has none (it failed before it began) what the lease says."""
    for name in ("state.json", "lease.json"):
        try:
            found: dict[str, Any] = json.loads(store.read(f"runs/{run}/{name}"))
        except (FileNotFoundError, ValueError):
            continue
        if name == "lease.json":  # of a version that wrote no state
            found = {"state": found.get("state"), "now": float(found.get("expires", 0)) - LEASE_S,
                     "every_s": BEAT_S, **{k: found.get(k) for k in ("host", "pid")}}  # fmt: skip
        return {"run": run, "nodes": [], **found}
    return {"run": run, "state": "starting", "nodes": [], "now": time.time(), "every_s": BEAT_S}


def _truth(store: Store, run: str, found: Mapping[str, Any], watch: bool) -> tuple[str, float]:
    """The state as it is now, and how long ago the run last wrote."""
    since = time.time() - _last_sign(found)
    state = str(found.get("state"))
    if state not in ("running", "starting"):
        return state, since
    there = lives(found)
    if there is not None:
        return ("running" if there else "killed"), since
    late = LATE * float(found.get("every_s") or BEAT_S)
    if 0 <= since <= late:
        return "running", since
    # Clocks of machines differ: only another beat says that it lives.
    end = time.monotonic() + late
    while watch and time.monotonic() < end:
        time.sleep(min(0.5, late / 10))
        again = _read(store, run)
        if again.get("state") != state:
            return str(again.get("state")), 0.0
        if again.get("beat") != found.get("beat"):
            return "running", 0.0
    return "silent", since


def _last_sign(found: Mapping[str, Any]) -> float:
    return float(found.get("now") or time.time())


def _next(found: Mapping[str, Any]) -> str:
    """What to do now."""
    command, folder = found.get("command"), found.get("folder")
    again = f"cd {folder} && {command}" if command and folder else "the same tamis run again"
    match found["state"]:
        case "done":
            return f"report: {found['report']}"
        case "running":
            return f"it runs on {found.get('host', 'this machine')}, process {found.get('pid')}"
        case "failed" if found.get("exit_code") in (2, 3):
            return f"fix it, then resume with: {again}"
        case _:
            return f"resume with: {again}"


def text(found: Mapping[str, Any]) -> str:
    """The state for a reader."""
    where = f"{found.get('engine', NONE)} engine, {count(found.get('workers'))} workers, on"
    where += f" {found.get('host', NONE)}; {seconds(found['seconds'])}"
    lines = [f"run {found['run']}: {_told(found)}", f"  {where}", *_table(found["nodes"])]
    lines.append(f"store {found.get('store', '')}: {told(found['disk'])}")
    if found.get("error"):
        lines.append(f"error: {found['error']}")
    return "\n".join([*lines, found["next"]])


def _told(found: Mapping[str, Any]) -> str:
    ago = f"{seconds(max(0.0, found['seen_s']))} ago"
    match found["state"]:
        case "running":
            return f"running, last sign of life {ago}"
        case "killed":
            return f"killed: its process {found.get('pid')} on {found.get('host')} is gone; last sign {ago}"
        case "silent":
            return f"silent: {found.get('host')} has not written for {seconds(abs(found['seen_s']))}"
        case "failed":
            return f"failed with exit code {found.get('exit_code')}, {ago}"
        case state:
            return f"{state}, {ago}"


def _table(nodes: list[Mapping[str, Any]]) -> list[str]:
    """One line a node, aligned."""
    head = ("node", "state", "rows", "of", "rows/s", "kept", "time", "left")
    rows = [head, *(_cells(node) for node in nodes)] if nodes else []
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))] if rows else []
    return [
        "  " + "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def _cells(node: Mapping[str, Any]) -> tuple[str, ...]:
    worked = node["state"] in ("running", "done")
    kept, judged = node.get("kept"), node.get("judged") or node.get("rows")
    unit = "" if node.get("unit", "rows") == "rows" else f" {node['unit']}"
    share = f" ({percent(node['rows'], node['total'])})" if worked and node.get("total") else ""
    state = MARKS.get(node["state"], node["state"])
    return (
        node["name"],
        state + (share if node["state"] == "running" else ""),
        count(node["rows"]) + unit if worked else NONE,
        count(node.get("total")) if worked else NONE,
        count(node.get("rate")) if worked else NONE,
        percent(kept, judged) if worked and kept is not None else NONE,
        seconds(node.get("seconds")) if worked else NONE,
        seconds(node.get("left_s")) if node["state"] == "running" else "",
    )


def listing(store: Store) -> list[dict[str, Any]]:
    """All runs, newest first, with their states; runs elsewhere are not waited for."""
    found = []
    for run in reversed(known_runs(store)):
        one = _read(store, run)
        state, since = _truth(store, run, one, watch=False)
        found.append({"run": run, "state": state, "seen_s": since, "host": one.get("host"),
                      "error": str(one.get("error") or "").split("\n")[0]})  # fmt: skip
    shown: list[dict[str, Any]] = masked(found)
    return shown


def listed(runs: list[dict[str, Any]]) -> str:
    """The list for a reader."""
    lines = [
        f"{run['run']}  {run['state']}, {seconds(max(0.0, run['seen_s']))} ago on {run['host'] or NONE}"
        + (f": {run['error'][:100]}" if run["error"] else "")
        for run in runs
    ]
    return "\n".join(lines) or "no runs"
