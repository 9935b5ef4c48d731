"""The report of a run: one HTML file that needs nothing else, made from the run data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined

from pipeline import numba_cache, units
from pipeline.charts import histogram
from pipeline.compare_text import sample_groups
from pipeline.curves import arms_of, forest, panels, point
from pipeline.disk import told
from pipeline.funnel import Step, first_bytes, funnel
from pipeline.measures import axis, measure_of, spent, views
from pipeline.redact import without_secrets
from pipeline.verdict import ALIKE, judge, plus_minus, price, title_of, verdict

MOST_GROUPS = 14  # groups shown at once; the rest are folded away
MOST_CONFIG = 200_000  # characters of the config's text
WIDE, NARROW = 800, 210  # widths of the differences' drawing on a screen and on a telephone


def write_report(run: Mapping[str, Any], path: str | Path) -> None:
    """Writes the report of the run data to a local file, all of it or nothing.

    Raises OSError where the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(render(run))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def render(run: Mapping[str, Any]) -> str:
    """The report as HTML. Sections whose data are missing are left out, or say so in a sentence.

    Beside the fields of the run data, a node may carry `peak_memory_bytes`, and a score `infinite`: how
    many values are infinite or NaN (then `nulls` are nulls only). `count` is of finite values.
    """
    run = clean(run)
    steps, lanes = funnel(run)
    view = {
        "run": run,
        "tiles": _tiles(run, steps),
        "verdict": verdict(run.get("train")),
        "steps": steps,
        "lanes": lanes,
        "scores": [histogram(s) for s in run.get("scores") or []],
        "samples": sample_groups(run.get("samples") or []),
        "costs": _costs(steps),
        "disk": told(run["disk"]) if run.get("disk") else "",
        "groups": _groups(run),
        "train": _training(run.get("train")),
        "config": (run.get("config") or "")[:MOST_CONFIG],
    }
    return _environment().get_template("report.html.j2").render(view)


@cache
def _environment() -> Environment:
    # StrictUndefined would refuse an absent optional field, so the templates use .get on run data.
    # Compiling the templates takes ten times as long as filling them in: their code is kept.
    folder = numba_cache.root() / "templates"
    folder.mkdir(mode=0o700, exist_ok=True)
    env = Environment(
        loader=PackageLoader("pipeline", "templates"),
        bytecode_cache=FileSystemBytecodeCache(str(folder)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update({n: getattr(units, n) for n in ("count", "rows", "short", "nbytes", "seconds")})
    env.filters["value"] = _value
    env.globals.update({"percent": units.percent, "NONE": units.NONE})
    return env


def _value(value: Any) -> str:
    """A field's value or a piece of evidence as text."""
    if isinstance(value, float):
        return units.number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_SHOWN = {i: 0x2400 + i for i in range(32) if chr(i) not in "\t\n"} | {127: 0x2421}
_SHOWN |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)
_MARKED = {i: f"⟨U+{i:04X}⟩" for i in [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
_TABLE: dict[int, int | str] = {**_SHOWN, **_MARKED}


def clean(value: Any) -> Any:
    """The same data with text that any browser can show: control characters as their pictures,
    marks that reverse the reading order spelt out, halves of surrogate pairs replaced; no credentials."""
    if isinstance(value, str):
        return without_secrets(value).replace("\r\n", "\n").translate(_TABLE)
    if isinstance(value, Mapping):
        return {clean(str(k)): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def _tiles(run: Mapping[str, Any], steps: list[Step]) -> list[dict[str, str]]:
    """The run in six figures: a name, a value, a note."""
    nodes, exports = run.get("nodes") or [], run.get("exports") or []
    rows_in = (run.get("source") or {}).get("rows")
    end: Mapping[str, Any] = next((s.node for s in reversed(steps) if s.kind == "node"), {})
    chosen = next((s.node for s in steps if exports and s.name == exports[0].get("node")), end)
    rows_out = exports[0].get("rows") if exports else end.get("rows_out")
    tokens = [exports[0].get("tokens") if exports else None, chosen.get("tokens_out")]
    tokens_out = next((t for t in tokens if t is not None), None)
    tokens_in = max((n["tokens_in"] for n in nodes if n.get("tokens_in") is not None), default=None)
    bytes_in, bytes_out = first_bytes(run), chosen.get("bytes_out")
    result = [
        _tile("Documents", units.rows(rows_in), units.rows(rows_out), rows_out, rows_in),
        _tile("Text", units.nbytes(bytes_in), units.nbytes(bytes_out), bytes_out, bytes_in),
    ]
    if tokens_out is not None:
        result.append(_tile("Tokens", units.short(tokens_in), units.short(tokens_out), tokens_out, tokens_in))
    cpu = run.get("cpu_seconds")
    note = f"{units.seconds(cpu)} of CPU" if cpu is not None else ""
    result.append({"name": "Time", "value": units.seconds(run.get("seconds")), "note": note})
    engine = run.get("engine") or "unknown"
    owner = "of the driver" if engine == "ray" else f"{engine} engine"
    memory = units.nbytes(run.get("peak_memory_bytes"))
    return [*result, {"name": "Peak memory", "value": memory, "note": owner}]


def _tile(name: str, before: str, after: str, part: float | None, whole: float | None) -> dict[str, str]:
    note = f"{units.percent(part, whole)} kept" if part is not None and whole else ""
    return {"name": name, "before": before, "value": after, "note": note}


def _costs(steps: list[Step]) -> list[dict[str, Any]]:
    """Time and rows of every step, its recipe's parts included, with bar widths in percent."""
    rows: list[dict[str, Any]] = []
    for step in steps:
        members = [*step.parts, *([step.node] if step.kind == "node" else [])]
        if not members:
            continue
        fields = ("seconds", "cpu_seconds", "computed_rows", "cached_rows", "store_bytes")
        row: dict[str, Any] = {f: sum(m.get(f) or 0 for m in members) for f in fields}
        memory = max(m.get("peak_memory_bytes") or 0 for m in members)
        rows.append(row | {"name": step.name or "source", "op": step.node.get("op", ""), "memory": memory})
    most = max([1e-9, *(r[f] for r in rows for f in ("seconds", "cpu_seconds"))])
    for row in rows:
        both = row["computed_rows"] + row["cached_rows"]
        row["wall"], row["cpu"] = 100 * row["seconds"] / most, 100 * row["cpu_seconds"] / most
        row["computed"] = 100 * row["computed_rows"] / both if both else 0.0
        row["cached"] = 100 * row["cached_rows"] / both if both else 0.0
    return rows


def _groups(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Shares of every group before and after, largest first, in two parts: shown and folded away. Rows
    that the run data count in no group come last."""
    groups = run.get("groups")
    if not groups or not (groups.get("in") or groups.get("out")):
        return None
    came, left = groups.get("in") or {}, groups.get("out") or {}
    names = sorted({*came, *left}, key=lambda g: (-came.get(g, 0), -left.get(g, 0), g))
    total_in = max(sum(came.values()), (run.get("source") or {}).get("rows") or 0)
    total_out = max(sum(left.values()), run.get("kept") or 0)
    rows = [{"name": name or "(none)", "in": came.get(name, 0), "out": left.get(name, 0)} for name in names]
    rest = {"in": total_in - sum(came.values()), "out": total_out - sum(left.values())}
    rows += [{"name": "(others)", **rest}] if any(rest.values()) else []
    for row in rows:
        row["share_in"] = row["in"] / total_in if total_in else 0.0
        row["share_out"] = row["out"] / total_out if total_out else 0.0
    top = max([1e-9, *(r[s] for r in rows for s in ("share_in", "share_out"))])
    for row in rows:
        row["bar_in"], row["bar_out"] = 100 * row["share_in"] / top, 100 * row["share_out"] / top
    folded = rows[MOST_GROUPS:] if len(rows) > MOST_GROUPS + 2 else []
    shown = rows[: len(rows) - len(folded)]
    return {"column": groups.get("column") or "group", "shown": shown, "folded": folded}


def _training(train: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Everything that the training section draws."""
    if not train or not train.get("arms"):
        return None
    return {
        "arms": arms_of(train),
        "views": [_view(view) for view in views(train)],
        "equal": spent(train),
        "axis": axis(train),
        "resources": _resources(train.get("resources")),
        "warnings": train.get("warnings") or [],
        "prices": _prices(train["arms"]),
        "passes": [_passes(arm) for arm in train["arms"].values()],
        "seeds": max((len(a.get("seeds") or []) for a in train["arms"].values()), default=0),
    }


def _view(view: Mapping[str, Any]) -> dict[str, Any]:
    """The training by one measure."""
    drawn = panels(view)
    return {
        "measure": measure_of(view),
        "panels": drawn,
        "forest": forest(view, WIDE),
        "narrow_forest": forest(view, NARROW),
        "table": list(_loss_table(view, [p.domain for p in drawn])),
    }


def _prices(arms: Mapping[str, Any]) -> list[str]:
    """Each arm's computation by random's; nothing where all are alike."""
    times = [price(arms, arm) for arm in arms]
    if all(t is None or abs(t - 1) <= ALIKE for t in times):
        return []
    return [units.NONE if t is None else f"{t:.2f}" for t in times]


def _passes(arm: Mapping[str, Any]) -> str:
    repeats = arm.get("repeats") or []
    return f"{sum(repeats) / len(repeats):.2f}" if repeats else units.NONE


def _loss_table(train: Mapping[str, Any], domains: list[str]) -> Iterator[dict[str, Any]]:
    before = train.get("baseline") or {}
    for domain in domains:
        cells = []
        for arm, data in train["arms"].items():
            paired = ((train.get("paired") or {}).get(arm) or {}).get(domain)
            sides = {"side": judge(paired), "paired": plus_minus(paired)} if paired else {"paired": None}
            cells.append({"loss": point(data.get("final") or {}, domain), **sides})
        yield {"domain": domain, "title": title_of(domain), "before": point(before, domain), "cells": cells}


_TOOK = {
    "model_bytes": "Model size",
    "runs": "Runs",
    "tokens": "Tokens, all runs",
    "bytes_by_dtype": "Parameters by type",
    "flops": "Computation, all runs",
    "looking_flops": "… of it to choose by",
    "step_seconds": "Time of a step, median",
    "step_seconds_p95": "… of the slowest 5 %",
    "mfu": "Share of the device's peak (MFU)",
    "kwh": "Energy, all runs",
    "kg_co2e": "Emissions, all runs",
    "tokens_per_s": "Tokens per second, mean",
    "peak_memory_bytes": "Peak memory",
    "peak_gpu_bytes": "Peak GPU memory",
    "seconds": "Time, all runs",
    "cpu_seconds": "CPU time, all runs",
}


_UNITS = {"kwh": "kWh", "kg_co2e": "kg CO2e", "step_seconds": "s", "step_seconds_p95": "s"}


def _resources(resources: Any) -> list[tuple[str, str]]:
    """What the training took, one line for each figure, with the unit that its name tells."""
    figures = (resources or {}).items()
    named = [(_TOOK.get(k, k.replace("_", " ").capitalize()), k, v) for k, v in figures if v is not None]
    hidden = {"peak_gpu_bytes", "looking_flops"}  # where they are 0
    return [(name, _figure(key, value)) for name, key, value in named if value or key not in hidden]


def _figure(key: str, value: Any) -> str:
    if key == "bytes_by_dtype":
        return ", ".join(f"{kind} {units.nbytes(size)}" for kind, size in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value)
    if "bytes" in key:
        return units.nbytes(value)
    if "flop" in key:
        return units.short(value, "FLOP")
    if key == "mfu":
        return units.percent(value, 1)
    if key in _UNITS:
        return f"{units.number(value)} {_UNITS[key]}"
    return units.seconds(value) if key.endswith("seconds") else units.short(value)


__all__ = ["clean", "render", "write_report"]
