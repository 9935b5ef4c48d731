"""What a run shows while it works: a live display on a terminal, plain lines elsewhere, all on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from pipeline.runlog import event
from pipeline.units import count, percent, seconds

if TYPE_CHECKING:
    from pipeline.live import LiveView

EVERY_S = 1.0


@dataclass
class NodeProgress:
    """How far one node is. `kept`, of the `judged` rows (None: of all), stays None for nodes that say nothing
    of it; `unit`: what is counted; `before`: what was done before it started; `ended`: when, if it has."""

    name: str
    total: int | None
    started: float
    rows: int = 0
    kept: int | None = None
    shown: float = 0.0
    unit: str = "rows"
    before: int = 0
    judged: int | None = None
    ended: float | None = None

    def rate(self, now: float) -> float:
        """Rows a second since the start; 0 before there is anything to divide by."""
        now = self.ended or now
        return (self.rows - self.before) / (now - self.started) if now > self.started else 0.0

    def left_s(self, now: float) -> float | None:
        """Seconds to the end at this rate; None where that is not known."""
        rate = self.rate(now)
        known = rate > 0 and self.total and self.rows < self.total and self.ended is None
        return (self.total - self.rows) / rate if known and self.total else None

    def text(self, now: float) -> str:
        """`fuzzy: 12,000 of 85,005 rows (14.1 %), 9,000 rows/s, 61.0 % kept, 8 s left`."""
        rate = self.rate(now)
        whole = f" of {count(self.total)}" if self.total else ""
        share = f" ({percent(self.rows, self.total)})" if self.total else ""
        parts = [f"{self.name}: {count(self.rows)}{whole} {self.unit}{share}"]
        if rate > 0:
            parts.append(f"{count(rate)} {self.unit}/s")
        if self.kept is not None and self.rows:
            parts.append(f"{percent(self.kept, self.judged or self.rows)} kept")
        if (left := self.left_s(now)) is not None:
            parts.append(f"{seconds(left)} left")
        return ", ".join(parts)


class Progress:
    """Told by many threads at once what the nodes do; shows it without slowing them down.

    plain: lines instead of the live display, also chosen where stderr is no terminal.
    quiet: nothing at all. stream, clock: for tests.
    """

    def __init__(
        self,
        plain: bool = False,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._plain = plain or not self._stream.isatty()
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.RLock()
        self._nodes: dict[str, NodeProgress] = {}
        self._live: LiveView | None = None
        self._ended: list[NodeProgress] = []

    def note(self, text: str) -> None:
        """A line that stays, and an event of the log."""
        event("note", text)
        self.line(text)

    def snapshot(self) -> tuple[float, list[NodeProgress]]:
        """What this clock says, and how far every node that began is, those that ended first."""
        with self._lock:
            return self._clock(), [replace(state) for state in (*self._ended, *self._nodes.values())]

    def line(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            if self._live is not None:
                self._live.line(text)
            else:
                self._write(text)

    def start(self, node: str, total_rows: int | None = None, unit: str = "rows", before: int = 0) -> None:
        """The node begins; it will see this many rows (None: not known), or what `unit` names, of which
        some may have been done before."""
        with self._lock:
            now = self._clock()
            state = NodeProgress(node, total_rows, now, before, shown=now, unit=unit, before=before)
            self._nodes[node] = state
            event("node_started", node=node, total=total_rows, unit=unit)
            if self._plain or self._quiet:
                rows = "" if total_rows is None else f", {count(total_rows)} {unit}"
                self._write(f"{node}: starting{rows}")
                return
            self._live_view().start(state)

    def advance(self, node: str, rows: int, kept: int | None = None, judged: int | None = None) -> None:
        """So many more rows are done, and so many of them (or of the `judged` ones) stay."""
        with self._lock:
            state = self._nodes.get(node)
            if state is None:
                return
            state.rows += rows
            if kept is not None:
                state.kept = (state.kept or 0) + kept
            if judged is not None:
                state.judged = (state.judged or 0) + judged
            if self._live is not None:
                self._live.update(state)
                return
            now = self._clock()
            if now - state.shown >= EVERY_S:
                state.shown = now
                self._write(state.text(now))

    def finish(self, node: str, text: str = "") -> None:
        """The node is done; `text` says with what, such as `85,005 → 61,002 rows`."""
        with self._lock:
            now = self._clock()
            state = self._nodes.pop(node, None)
            took = f" ({seconds(now - state.started)})" if state is not None else ""
            if state is not None:
                state.ended = now
                self._ended.append(state)
                event(
                    "node_done", text, node=node, rows=state.rows, kept=state.kept, unit=state.unit,
                    duration=round(now - state.started, 3),
                )  # fmt: skip
            line = f"{node}: {text or 'done'}{took}"
            if self._live is None:
                self._write(line)
                return
            self._live.remove(node)
            self._live.line(line)

    def close(self) -> None:
        """Ends the live display; lines that come later are plain."""
        with self._lock:
            if self._live is not None:
                self._live.close()
                self._live = None
            self._plain = True
            self._nodes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _live_view(self) -> LiveView:
        if self._live is None:
            from pipeline.live import LiveView

            self._live = LiveView(self._stream, self._clock)
        return self._live

    def _write(self, text: str) -> None:
        """One line; a terminal that is gone must not stop the run."""
        if self._quiet:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True
