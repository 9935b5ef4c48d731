"""The results: a line for every kill, and a table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workflows.kills.attack import Repeated

HEAD = ("step", "killed", "engine", "kills", "while it ran", "runs", "differing bytes", "unaccounted rows",
        "tasks repeated", "rows repeated", "steps repeated")  # fmt: skip
RESUMABLE = 4  # the exit code of a run that was asked to end


@dataclass(frozen=True)
class Kill:
    """A kill and what came of it. hit: the kinds of step under way when it came; codes: the exit codes of
    the run and of those after it; differing: file -> bytes."""

    engine: str
    target: str
    kind: str
    asked: bool
    hit: list[str]
    codes: list[int]
    differing: dict[str, int]
    unaccounted: int
    repeated: Repeated

    @property
    def harmless(self) -> bool:
        """Whether nothing was lost, and who was asked to end did so in order."""
        ended = not self.asked or self.codes[0] in (0, RESUMABLE)
        return not self.differing and not self.unaccounted and ended

    def line(self) -> str:
        """The kill in a line."""
        again = self.repeated
        busy = ", ".join(self.hit) or "nothing"
        told = (
            f"{self.engine:5} {self.target:18} in {self.kind:10} ({busy} under way)",
            f"exits {self.codes}",
            f"{sum(self.differing.values())} bytes differ",
            f"{self.unaccounted} rows unaccounted",
            f"repeated {again.tasks} of {again.of_tasks} tasks",
            f"{again.rows} of {again.of_rows} rows",
            f"{again.steps} of {again.of_steps} steps",
            *sorted(self.differing)[:5],
        )
        return ", ".join(told)


def table(kills: Sequence[Kill]) -> str:
    """Markdown: a row for each engine, victim and kind of step, then without the kinds, then all."""
    groups: dict[tuple[str, str, str], list[Kill]] = {}
    for kill in sorted(kills, key=lambda k: (k.engine, k.target, k.kind)):
        groups.setdefault((kill.kind, kill.target, kill.engine), []).append(kill)
    for kill in kills:
        groups.setdefault(("all", kill.target, kill.engine), []).append(kill)
    rows = [(*place, *_figures(some)) for place, some in groups.items()]
    if kills:
        rows.append(("all", "all", "all", *_figures(kills)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * len(HEAD), *rows))


def _figures(kills: Sequence[Kill]) -> tuple[str, ...]:
    again = [kill.repeated for kill in kills]
    return (
        str(len(kills)),
        str(sum(kill.kind in kill.hit for kill in kills)),
        str(sum(len(kill.codes) for kill in kills)),
        str(sum(sum(kill.differing.values()) for kill in kills)),
        str(sum(kill.unaccounted for kill in kills)),
        _share([one.tasks for one in again], [one.of_tasks for one in again]),
        _share([one.rows for one in again], [one.of_rows for one in again]),
        _share([one.steps for one in again], [one.of_steps for one in again]),
    )


def _share(some: Sequence[int], whole: Sequence[int]) -> str:
    return f"{100 * sum(some) / max(1, sum(whole)):.2f} %"
