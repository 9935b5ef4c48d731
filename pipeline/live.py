"""The live display of running nodes: bar, rows a second, share kept, time left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from pipeline.units import count, percent, seconds

if TYPE_CHECKING:
    from pipeline.progress import NodeProgress

REFRESHES_S = 8


class LiveView:
    """Draws at a fixed rate in a thread of its own, so that updates cost next to nothing."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tasks: dict[str, TaskID] = {}
        console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            refresh_per_second=REFRESHES_S,
            transient=True,
        )
        self._bars.start()

    def start(self, state: NodeProgress) -> None:
        """Adds the node's line."""
        self.remove(state.name)
        self._tasks[state.name] = self._bars.add_task(state.name, total=state.total, text="")

    def update(self, state: NodeProgress) -> None:
        """Moves the node's bar."""
        self._bars.update(self._tasks[state.name], completed=state.rows, text=_figures(state, self._clock()))

    def remove(self, node: str) -> None:
        """Takes the node's line away."""
        task = self._tasks.pop(node, None)
        if task is not None:
            self._bars.remove_task(task)

    def line(self, text: str) -> None:
        """A line that stays, above the bars."""
        self._bars.console.print(text, soft_wrap=True)

    def close(self) -> None:
        """Takes the bars away and gives the cursor back."""
        self._bars.stop()


def _figures(state: NodeProgress, now: float) -> str:
    rate = state.rate(now)
    parts = [
        f"{count(state.rows)}/{count(state.total)}" if state.total else f"{count(state.rows)} {state.unit}"
    ]
    parts.append(f"{count(rate)}/s")
    if state.kept is not None and state.rows:
        parts.append(f"{percent(state.kept, state.judged or state.rows)} kept")
    if (left := state.left_s(now)) is not None:
        parts.append(f"{seconds(left)} left")
    return "  ".join(parts)
