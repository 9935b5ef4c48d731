"""The two ways to judge a selector on one seed: cold, without a label, and warm, round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.store import key_of
from workflows.selecting.branches import RANDOM, Branch, Fragment, choose, deal
from workflows.selecting.heads import measured
from workflows.selecting.task import Int64s, Split, Task, keys, write_pool

POOL = "pool.parquet"
BRANCHES = 40  # of one run: the books of some 400 nodes are more than a task may return
Row = dict[str, Any]  # protocol, arm, labels (how many rows are labelled), chosen, and the measures


@dataclass(frozen=True)
class Settings:
    """budgets: labels in all, the last one the largest. test, pool: rows held out, and to choose from. start:
    labels of the random seed set of the warm protocol, batch: those of each round after it."""

    budgets: tuple[int, ...] = (18, 100)
    test: int = 2000
    pool: int = 4000
    start: int = 50
    batch: int = 50

    def rounds(self) -> list[int]:
        """How many labels there are after each warm round."""
        last = self.budgets[-1]
        return [*range(self.start + self.batch, last, self.batch), last] if last > self.start else []


@dataclass(frozen=True)
class Arm:
    """A fragment, the number of an independent draw of it, and whether its ranks are dealt to other rows."""

    fragment: Fragment
    draw: int = 0
    dealt: bool = False

    @property
    def name(self) -> str:
        return f"{'placebo_' if self.dealt else ''}{self.base}"

    @property
    def base(self) -> str:
        """What its branch is called: of it depend the seeds of its nodes."""
        return f"{self.fragment.name}{f'_draw{self.draw}' if self.draw else ''}"


def dag_seed(seed: int) -> int:
    """The seed of the DAG's runs."""
    return int(key_of("selectors", seed)[:12], 16)


def cold(
    task: Task, split: Split, seed: int, arms: Sequence[Arm], settings: Settings, folder: Path
) -> dict[str, list[Row]]:
    """Each arm chooses so many rows of the pool, of which nobody knows a label; they are labelled."""
    write_pool(task, split.pool, folder / POOL)
    bases = {arm.base: arm.fragment for arm in arms}
    branches = [Branch(f"{base}_{k}", one, k) for base, one in bases.items() for k in settings.budgets]
    chosen: dict[str, Int64s] = {}
    for start in range(0, len(branches), BRANCHES):
        chosen |= choose(folder, POOL, dag_seed(seed), branches[start : start + BRANCHES])
    key = keys([task.ids[i] for i in split.pool])
    found: dict[str, list[Row]] = {}
    for arm in arms:
        found[arm.name] = []
        for k in settings.budgets:
            places = chosen[f"{arm.base}_{k}"]
            if arm.dealt:
                free = np.ones(len(split.pool), bool)
                places = deal(places, free, key, dag_seed(seed) ^ int(key_of(arm.name)[:12], 16))
            found[arm.name].append(_row("cold", arm, k, task, split, split.pool[places]))
    return found


def warm(
    task: Task,
    split: Split,
    seed: int,
    arms: Sequence[Arm],
    settings: Settings,
    folder: Path,
    first: Fragment,
) -> dict[str, list[Row]]:
    """All arms start from one random set of labelled rows; each goes its own way from there."""
    write_pool(task, split.pool, folder / POOL)
    start = choose(folder, POOL, dag_seed(seed), [Branch("start", first, settings.start)])["start"]
    known = {arm.name: split.pool[start] for arm in arms}
    begin = _row("warm", arms[0], settings.start, task, split, split.pool[start]) if arms else {}
    found = {arm.name: [{**begin, "arm": arm.name}] for arm in arms}
    for labels in settings.rounds():
        step = labels - found[arms[0].name][-1]["labels"] if arms else 0
        branches = [
            Branch(arm.name, arm.fragment, step, named(task, known[arm.name]), arm.dealt) for arm in arms
        ]
        chosen = choose(folder, POOL, dag_seed(seed), branches)
        for arm in arms:
            known[arm.name] = np.sort(np.concatenate([known[arm.name], split.pool[chosen[arm.name]]]))
            found[arm.name].append(_row("warm", arm, labels, task, split, known[arm.name]))
    return found


def named(task: Task, rows: Int64s) -> Mapping[str, str]:
    """id -> label."""
    return {task.ids[i]: task.names[task.label[i]] for i in rows}


def _row(protocol: str, arm: Arm, labels: int, task: Task, split: Split, rows: Int64s) -> Row:
    if not len(rows):
        raise ConfigError(f"{arm.name} chose no row where it may choose {labels}")
    test = split.test
    scores = measured(task.x[rows], task.label[rows], task.x[test], task.label[test], len(task.names))
    return {"protocol": protocol, "arm": arm.name, "labels": labels, "chosen": len(rows), **scores}


def arms_of(
    fragments: Mapping[str, Fragment], protocol: str, draws: int, placebos: Sequence[str]
) -> list[Arm]:
    """Random rows `draws` times and once more as a control, the selectors, and their placebos."""
    chosen = [one for one in fragments.values() if protocol in one.protocols]
    lucky = [Arm(fragments[RANDOM], draw) for draw in range(draws + 1)]
    others = [one for one in chosen if one.name != RANDOM]
    return [
        *lucky,
        *(Arm(one) for one in others),
        *(Arm(o, dealt=True) for o in others if o.name in placebos),
    ]
