"""Claim: whatever is killed, and whenever, the same command run again ends with the same bytes.

    python -m workflows.kills --kills 100 --engine both --seed 0 [--out FOLDER]

A small DAG with every kind of step runs once undisturbed on each engine, then once for every kill: at a
drawn moment within a drawn kind of step a process gets SIGKILL. On the local engine that is the driver, or
one of the processes that it trains in; on a Ray cluster of three nodes on this machine a worker, an actor
with a model, the driver, or a whole node. Where the run does not go on by itself, the same command is run
again, as a user would. Then every file of the store and of the exports, what training gave, and the books
are compared with the undisturbed run. With `--signal term` (what a cluster sends before it takes a machine)
or `--signal int` (Ctrl-C) it is always the driver, which must end with exit code 4.

Prints a table and writes OUT/local.json and OUT/ray.json; the exit code is 1 where a byte, a row or an exit
code is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from workflows.kills.plan import SIGNALS, Aim, lane_of, planned
from workflows.kills.table import Kill, table

ROWS = 240


def main() -> int:
    """0 where no kill cost a byte or a row."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--engine", choices=("local", "ray", "both"), default="both")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--signal", choices=tuple(SIGNALS), default="kill")
    arguments.add_argument("--rows", type=int, default=ROWS, help=f"documents (default: {ROWS})")
    arguments.add_argument(
        "--out", type=Path, help="keeps what the last run left, its output, and all figures"
    )
    given = arguments.parse_args()
    engines = ("local", "ray") if given.engine == "both" else (given.engine,)
    with tempfile.TemporaryDirectory(prefix="tamis-kills-") as scratch:
        out = (given.out or Path(scratch)).resolve()
        kills: list[Kill] = []
        for number, engine in enumerate(engines):
            mine = (given.kills + len(engines) - 1 - number) // len(engines)
            aims = planned(engine, mine, SIGNALS[given.signal])
            kills += attack(engine, aims, given.seed, out, given.rows)
    print(table(kills))
    return int(not all(kill.harmless for kill in kills))


def attack(engine: str, aims: Sequence[Aim], seed: int, out: Path, rows: int) -> list[Kill]:
    """Kills on one engine, told one by one."""
    kills = []
    with lane_of(engine, out / engine, rows) as lane:
        for number, aim in enumerate(aims):
            kills.append(lane.kill(aim, f"{seed}/{engine}/{number}"))
            (out / f"{engine}.json").write_text(json.dumps([asdict(kill) for kill in kills], indent=1))
            print(f"{number + 1:4} {kills[-1].line()}", flush=True)
    return kills


if __name__ == "__main__":
    sys.exit(main())
