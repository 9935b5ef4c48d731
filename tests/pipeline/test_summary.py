"""The printed end of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pipeline.summary import print_summary
from pipeline.verdict import verdict

NODE: dict[str, Any] = {
    "name": "exact", "op": "exact_dedup", "face": True, "rows_in": 1000, "rows_out": 900,
    "dropped": {"exact_duplicate": 90, "b": 4, "c": 3, "d": 2, "e": 1}, "quarantined": 0,
    "bytes_in": 5_000_000, "bytes_out": 4_000_000, "tokens_in": None, "tokens_out": None,
    "seconds": 1.5, "cpu_seconds": 2.0, "computed_rows": 250, "cached_rows": 750,
}  # fmt: skip
RUN: dict[str, Any] = {
    "run": "r1", "seconds": 3.0, "cpu_seconds": 4.0, "peak_memory_bytes": 123_000_000,
    "source": {"rows": 1000, "bytes": 5_000_000, "files": 2, "shards": 1},
    "nodes": [NODE, {**NODE, "name": "hidden", "face": False}],
    "exports": [{"path": "/tmp/[x]/out", "format": "parquet", "rows": 900, "bytes": 1e6, "files": 1,
                 "tokens": 150_000, "node": "exact"}],
    "train": None,
}  # fmt: skip


def printed(run: dict[str, Any], **options: Any) -> str:
    stream = io.StringIO()
    print_summary(run, stream, **options)
    return stream.getvalue()


def test_the_funnel_shows_faces_with_their_reasons() -> None:
    text = printed(RUN, report="/tmp/[x]/report.html")
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "run r1: 1,000 rows, 5.00 MB in 2 files, 3.00 s (4.00 s CPU), peak 123 MB"
    head, row = (" ".join(line.split()) for line in lines[1:3])
    assert head == "node operator rows in rows out kept bytes out dropped cached time"
    reasons = "exact_duplicate 90, b 4, c 3, d 2, 1 more 1"
    assert row == f"exact exact_dedup 1,000 900 90.0 % 4.00 MB {reasons} 75.0 % 1.50 s"
    assert lines[3] == "export: /tmp/[x]/out (900 rows, 1.00 MB, 150 k tokens, 1 files of parquet)"
    assert lines[4:] == ["report: /tmp/[x]/report.html"]
    assert "hidden" not in text


def test_tokens_are_shown_where_they_are_known() -> None:
    text = printed({**RUN, "nodes": [{**NODE, "tokens_out": 12_345, "quarantined": 7}]})
    assert "tokens out" in text
    assert "12.3 k" in text
    assert "quarantined 7" in text


def test_what_operators_found_is_told_under_the_name_of_the_config() -> None:
    part = {
        **NODE,
        "name": "pick/gap",
        "face": False,
        "recipe": "pick",
        "tells": "ESS 12.5 of 100\nsecond line",
    }
    lines = printed({**RUN, "nodes": [part, {**NODE, "name": "pick", "tells": None}]}).splitlines()
    at = lines.index("pick: ESS 12.5 of 100")
    assert lines[at + 1] == "  second line"


def test_trained_arms_with_their_spread() -> None:
    final = {"macro": {"mean": 2.0, "std": 0.01}, "all": {"mean": 2.1, "std": 0.02}}
    domains = {"python": {"mean": 1.5, "std": 0.1}, "rust": {"mean": 2.5, "std": None}}
    arm = {"seeds": [0, 1, 2], "final": {**final, "domains": domains}, "curve": []}
    paired = {"macro": {"difference": -0.3, "standard_error": 0.02, "n": 3}}
    train = {"arms": {"random": arm, "order": arm}, "paired": {"order": paired}}
    text = printed({**RUN, "train": train})
    assert "held-out loss, nats per byte" in text
    rows = {line.split()[0]: line for line in text.splitlines() if "±" in line or "2.5" in line}
    assert rows["python"].split() == ["python", "1.5", "±", "0.1", "1.5", "±", "0.1"]
    assert rows["rust"].split() == ["rust", "2.5", "2.5"]
    assert verdict(train)
    assert all(sentence in text for sentence in verdict(train))


def test_a_run_without_nodes_or_figures_prints() -> None:
    assert "run x" in printed({"run": "x"})


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_a_table_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    print_summary(RUN, stream)
    text = stream.getvalue()
    assert "─" in text
    assert "…" not in text
    assert ("exact dropped exact_duplicate 90" in text) == (columns == 80)
    assert ("operator" in text) == (columns == 200)
