"""The end of a run in the terminal: the funnel, the exports, the trained arms, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.disk import told as disk_told
from pipeline.funnel import told, whole
from pipeline.measures import measure_of, views
from pipeline.units import NONE, count, known, nbytes, number, percent, seconds, short
from pipeline.verdict import MEANS, TITLES, verdict

PLAIN_WIDTH = 160
NARROW = 120  # below this many columns the table keeps only what is not in the plan as well
MOST_REASONS = 4
Column = tuple[str, Literal["left", "right"], Callable[[Mapping[str, Any]], str]]


def print_summary(run: Mapping[str, Any], stream: TextIO, report: str | None = None) -> None:
    """Prints the run data; without a terminal as plain aligned text."""
    terminal = stream.isatty()
    console = Console(
        file=stream, markup=False, highlight=False, emoji=False, width=None if terminal else PLAIN_WIDTH
    )
    style = box.SIMPLE_HEAD if terminal else None
    narrow = console.width < NARROW
    console.print(_headline(run), soft_wrap=True)
    console.print(funnel_table(run, style, narrow))
    for node in _faces(run) if narrow else []:
        if _reasons(node):
            console.print(f"{node['name']} dropped {_reasons(node)}", soft_wrap=True)
    for name, lines in told(run):
        console.print(f"{name}: " + "\n  ".join(lines), soft_wrap=True)
    for export in run.get("exports") or []:
        console.print(_export(export), soft_wrap=True)
    train = run.get("train")
    if train and train.get("arms"):
        for view in views(train):
            console.print(arms_table(view, style))
        for sentence in verdict(train):
            console.print(sentence, soft_wrap=True)
    if run.get("disk"):
        console.print(f"store: {disk_told(run['disk'])}", soft_wrap=True)
    if report:
        console.print(f"report: {report}", soft_wrap=True)


def _headline(run: Mapping[str, Any]) -> str:
    source = run.get("source") or {}
    took = f"{seconds(run.get('seconds'))} ({seconds(run.get('cpu_seconds'))} CPU)"
    peak = run.get("peak_memory_bytes")
    return (
        f"run {run.get('run')}: {count(source.get('rows'))} rows, {nbytes(source.get('bytes'))} in "
        f"{count(source.get('files'))} files, {took}{f', peak {nbytes(peak)}' if peak else ''}"
    )


def _faces(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nodes of the config, without the parts of recipes."""
    nodes = run.get("nodes") or []
    spent: dict[str, float] = {}
    for node in nodes:  # a recipe's time is that of its parts
        owner = node["name"] if node.get("face", True) else str(node.get("recipe"))
        spent[owner] = spent.get(owner, 0.0) + (node.get("seconds") or 0.0)
    faces = [node for node in nodes if node.get("face", True)]
    parts = [node for node in nodes if not node.get("face", True)]
    return [
        {**whole(node, [p for p in parts if p.get("recipe") == node["name"]]), "seconds": spent[node["name"]]}
        for node in faces
    ]


def funnel_table(run: Mapping[str, Any], style: box.Box | None, narrow: bool = False) -> Table:
    """One line for each node of the config: rows in and out, share kept, tokens or bytes, reasons."""
    nodes = _faces(run)
    tokens = any(known(node.get("tokens_out")) for node in nodes)
    columns = [
        column
        for column in _columns(tokens)
        if not narrow or column[0] not in ("operator", "dropped", "cached")
    ]
    table = Table(box=style, pad_edge=False)
    for title, justify, _ in columns:
        table.add_column(title, justify=justify, no_wrap=title != "dropped", overflow="fold")
    for node in nodes:
        table.add_row(*(text(node) for _, _, text in columns))
    return table


def _columns(tokens: bool) -> list[Column]:
    """Title, alignment and text of every column."""
    return [
        ("node", "left", lambda node: str(node["name"])),
        ("operator", "left", lambda node: str(node["op"])),
        ("rows in", "right", lambda node: count(node.get("rows_in"))),
        ("rows out", "right", lambda node: count(node.get("rows_out"))),
        ("kept", "right", lambda node: percent(node.get("rows_out"), node.get("rows_in"))),
        ("tokens out", "right", lambda node: short(node.get("tokens_out")))
        if tokens
        else ("bytes out", "right", lambda node: nbytes(node.get("bytes_out"))),
        ("dropped", "left", _reasons),
        ("cached", "right", _cached),
        ("time", "right", lambda node: seconds(node.get("seconds"))),
    ]


def _cached(node: Mapping[str, Any]) -> str:
    cached, computed = node.get("cached_rows") or 0, node.get("computed_rows") or 0
    return percent(cached, cached + computed) if cached + computed else NONE


def _reasons(node: Mapping[str, Any]) -> str:
    dropped = sorted((node.get("dropped") or {}).items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{reason} {count(rows)}" for reason, rows in dropped[:MOST_REASONS]]
    if len(dropped) > MOST_REASONS:
        rest = sum(rows for _, rows in dropped[MOST_REASONS:])
        parts.append(f"{len(dropped) - MOST_REASONS} more {count(rest)}")
    if node.get("quarantined"):
        parts.append(f"quarantined {count(node['quarantined'])}")
    return ", ".join(parts)


def _export(export: Mapping[str, Any]) -> str:
    tokens = export.get("tokens")
    parts = [f"{count(export.get('rows'))} rows", nbytes(export.get("bytes"))]
    if tokens is not None:
        parts.append(f"{short(tokens)} tokens")
    if (sequences := export.get("sequences")) is not None:
        of = f"{count(sequences)} sequences of {count(export.get('seq_len'))}"
        parts.append(f"{of}, {percent(export.get('padding'), 1)} padding")
    parts.append(f"{count(export.get('files'))} files of {export.get('format')}")
    return f"export: {export.get('path')} ({', '.join(parts)})"


def arms_table(train: Mapping[str, Any], style: box.Box | None) -> Table:
    """The final loss (or accuracy) of every arm, with its spread over the seeds."""
    arms = train["arms"]
    domains = dict.fromkeys(d for arm in arms.values() for d in (arm.get("final") or {}).get("domains") or {})
    measure = measure_of(train)
    title = f"held-out {measure.name}" + ("" if measure.higher else f", {measure.unit}")
    table = Table(box=style, pad_edge=False, title=title, title_justify="left")
    table.add_column("domain", no_wrap=True)
    for name in arms:
        table.add_column(str(name), justify="right", no_wrap=True)
    for domain in [*(MEANS if len(domains) != 1 else ()), *domains]:
        cells = [_loss(arm.get("final") or {}, domain) for arm in arms.values()]
        if any(cell != NONE for cell in cells):
            table.add_row(TITLES.get(domain, domain), *cells)
    return table


def _loss(final: Mapping[str, Any], domain: str) -> str:
    cell = final.get(domain) if domain in MEANS else (final.get("domains") or {}).get(domain)
    if not isinstance(cell, Mapping):
        return number(cell)
    spread = cell.get("std")
    return f"{number(cell.get('mean'))} ± {number(spread)}" if known(spread) else number(cell.get("mean"))
