"""The benchmark's figures as tables, plain or in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table whose columns are aligned, so that it reads well as plain text too."""
    every = [list(head), *map(list, rows)]
    widths = [max(len(row[k]) for row in every) for k in range(len(head))]
    lines = [
        "| " + " | ".join(f"{cell:{'<' if k == 0 else '>'}{widths[k]}}" for k, cell in enumerate(row)) + " |"
        for row in every
    ]
    rule = ["-" * (width + 1) + (":" if k else "-") for k, width in enumerate(widths)]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def compared(results: Sequence[dict[str, Any]], starts: dict[str, float]) -> str:
    """One line for each deduplicator on one corpus."""
    head: Row = ("", "version", "CPU-s", "of it start", "wall s", "MB/s/core", "x tamis", "peak MB")
    head = (*head, "removed", "wrong", "far", "no kept partner", "lost")
    ours = next((r["cpu_s"] for r in results if r["peer"] == "tamis" and "error" not in r), None)
    return table(head, [_compared_row(r, starts.get(r["peer"]), ours) for r in results])


def _compared_row(r: dict[str, Any], start: float | None, ours: float | None) -> list[str]:
    name = [_name(r), r["version"] or "-"]
    if "error" in r:
        return [*name, *["-"] * 11]
    judged = r["judged"]
    removed = max(1, judged["removed"])
    return [
        *name,
        f"{r['cpu_s']:.2f}",
        "-" if start is None else f"{start:.2f}",
        f"{r['wall_s']:.1f}",
        f"{r['megabytes'] / r['cpu_s']:.1f}",
        "-" if ours is None else f"{r['cpu_s'] / ours:.1f}",
        f"{r['peak_bytes'] / 1e6:.0f}",
        f"{judged['removed']:,}",
        *(f"{judged[key]:,} ({100 * judged[key] / removed:.1f} %)" for key in ("wrong", "far", "alone")),
        f"{judged['lost']:,} of {judged['pairs']:,} ({100 * judged['lost'] / max(1, judged['pairs']):.2f} %)",
    ]


def _name(r: dict[str, Any]) -> str:
    return f"{r['peer']} (earlier)" if r.get("earlier") else str(r["peer"])


def scaled(results: Sequence[dict[str, Any]]) -> str:
    """One line for each corpus size, deduplicator and number of workers."""
    head = ("", "workers", "MB", "documents", "CPU-s", "wall s", "MB/s/core", "peak MB", "wrong", "lost")
    rows = []
    for r in results:
        start = [_name(r), str(r["workers"]), f"{r['megabytes']:,.0f}", f"{r['documents']:,}"]
        if "error" in r:
            rows.append([*start, *["-"] * 6])
            continue
        judged = r.get("judged")
        lost = f"{100 * judged['lost'] / max(1, judged['pairs']):.2f} %" if judged else "-"
        cost = [f"{r['cpu_s']:.2f}", f"{r['wall_s']:.1f}", f"{r['megabytes'] / r['cpu_s']:.1f}"]
        wrong = str(judged["wrong"]) if judged else "-"
        rows.append([*start, *cost, f"{r['peak_bytes'] / 1e6:.0f}", wrong, lost])
    return table(head, rows)


def margins(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each (peer, workers) what the step from the smallest to the largest corpus cost: cpu_s and wall_s
    for 100 MB, peak bytes for a document, and the ratio of CPU-seconds to tamis's with as many workers."""
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for r in results:
        if "error" not in r:
            runs.setdefault((r["peer"], r["workers"]), []).append(r)
    found = []
    for (peer, workers), sizes in runs.items():
        small, large = (f(sizes, key=lambda r: r["megabytes"]) for f in (min, max))
        extra = large["megabytes"] - small["megabytes"]
        if extra > 0:
            more = {k: large[k] - small[k] for k in ("cpu_s", "wall_s", "peak_bytes", "documents")}
            found.append(
                {
                    "peer": peer,
                    "workers": workers,
                    "cpu_s_for_100_mb": 100 * more["cpu_s"] / extra,
                    "wall_s_for_100_mb": 100 * more["wall_s"] / extra,
                    "peak_bytes_for_a_document": more["peak_bytes"] / more["documents"],
                    "whole_cpu_s": large["cpu_s"],
                }
            )
    ours = {m["workers"]: m for m in found if m["peer"] == "tamis"}
    for m in found:
        own = ours.get(m["workers"])
        m["times_tamis"] = own and m["cpu_s_for_100_mb"] / own["cpu_s_for_100_mb"]
        m["whole_times_tamis"] = own and m["whole_cpu_s"] / own["whole_cpu_s"]
    return found


def marginal(found: Sequence[dict[str, Any]]) -> str:
    """The margins as a table."""
    head = (
        "",
        "workers",
        "CPU-s for 100 MB more",
        "MB/s/core",
        "x tamis",
        "whole x tamis",
        "wall s for 100 MB",
    )
    rows = [
        [
            m["peer"],
            str(m["workers"]),
            f"{m['cpu_s_for_100_mb']:.3f}",
            f"{100 / m['cpu_s_for_100_mb']:.0f}",
            f"{m['times_tamis']:.1f}" if m["times_tamis"] else "-",
            f"{m['whole_times_tamis']:.1f}" if m["whole_times_tamis"] else "-",
            f"{m['wall_s_for_100_mb']:.3f}",
            f"{m['peak_bytes_for_a_document']:,.0f}",
        ]
        for m in found
    ]
    return table((*head, "peak B a document more"), rows)
