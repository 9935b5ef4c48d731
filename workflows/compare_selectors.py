"""Claim: what a selector of rows to label is worth is what it gains over random rows on the same seed.

    python -m workflows.compare_selectors WORK TABLE=EMBEDDINGS.npy ... [--seeds 20] [--budgets 18 100]

Each TABLE (Parquet, CSV or JSONL with columns text and label) is split anew for every seed into held-out
rows and a pool. `cold`: each selector chooses k rows of the pool without knowing a label. `warm`: all start
from one random set of labelled rows and choose, round after round, with what they have learnt. The chosen
rows are labelled, and two classifiers of their embeddings tested on the held-out rows: logistic regression,
and a vote of the 5 nearest. All selectors are branches of one DAG, one run for each seed and round.

Copies of a row may be on both sides of the split (a tenth of sms_spam's test rows have one in the pool): drop
them before, by `exact_dedup`. Errors are those of other splits of this table, not of other tables.

Printed, of losses as of wins: means over seeds with standard errors, and the paired difference to random
rows, which are the mean of `--draws` independent draws on that seed. Controls: another random draw, and
placebos, a selector's ranks dealt to other rows; they must tie. Then the claims of configs/selection, as
reproduced or not. Results are kept in WORK seed by seed and arm by arm: what is there is not computed again,
so a study that was interrupted, or got a selector more, goes on.

Found (MiniLM embeddings, 20 seeds, logistic; subjectivity and banking77, 8.5 minutes): without a label
before, 100 rows of k-means gain -.011 +- .004 and +.198 +- .005, of k-center -.078 +- .012 and +.009 +-
.005. 200 more after 100 random ones: weighted k-means +.008 +- .002 and +.117 +- .003, BADGE +.005 and
+.033, margin +.004 and +.035, entropy +.004 and -.050, CAL -.005 and -.124. No control was off by two
errors; with pools of 4,000 and 10 seeds 3 of 32 were, all on subjectivity, one by 4 (.011): arms share
one baseline, so take .01 for noise there.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.errors import ConfigError, TamisError
from pipeline.store import key_of
from workflows.bench.tables import table
from workflows.selecting.branches import PROTOCOLS, RANDOM, Fragment, fragments, settings_of
from workflows.selecting.claims import CLAIMS, check, read_claims
from workflows.selecting.heads import MEASURES
from workflows.selecting.pages import write_page
from workflows.selecting.protocols import Arm, Row, Settings, arms_of, cold, warm
from workflows.selecting.results import Comparison, comparisons
from workflows.selecting.task import NO_LABEL, Columns, Split, Task, load, split

SHOWN = ("logistic", "knn")


def seed_key(task: str, arm: Arm, protocol: str, seed: int, settings: Settings) -> str:
    """Under which name the results of an arm on a seed are kept."""
    return key_of(3, task, arm.name, arm.fragment.identity, protocol, seed, asdict(settings))


def one_seed(
    task: Task,
    seed: int,
    arms: Mapping[str, Sequence[Arm]],
    settings: Settings,
    folder: Path,
    first: Fragment,
) -> list[Row]:
    """The results of all arms, those that are not in the folder computed."""
    file = folder / f"seed-{seed}.json"
    kept: dict[str, list[Row]] = json.loads(file.read_text()) if file.is_file() else {}
    mark, rows = task.identity, []
    for protocol, some in arms.items():
        named = {arm.name: seed_key(mark, arm, protocol, seed, settings) for arm in some}
        todo = [arm for arm in some if named[arm.name] not in kept]
        if todo:
            scratch = folder / f"seed-{seed}"
            scratch.mkdir(parents=True, exist_ok=True)
            parts = split(task, seed, settings.test, None)
            labelled = parts.pool[task.label[parts.pool] != NO_LABEL]
            luck = np.random.default_rng(seed).permutation(len(labelled))[: settings.pool]
            parts = Split(np.sort(labelled[luck]), parts.test)
            with threadpool_limits(1):  # small matrices: more threads only wait for each other
                if protocol == "cold":
                    found = cold(task, parts, seed, todo, settings, scratch)
                else:
                    found = warm(task, parts, seed, todo, settings, scratch, first)
            kept |= {named[name]: values for name, values in found.items()}
            waiting = file.with_suffix(".tmp")
            waiting.write_text(json.dumps(kept))
            waiting.replace(file)
            shutil.rmtree(scratch)
        rows += [{**row, "seed": seed} for arm in some for row in kept[named[arm.name]]]
    return rows


def study(
    task: Task,
    arms: Mapping[str, Sequence[Arm]],
    settings: Settings,
    work: Path,
    seeds: int,
    workers: int,
    first: Fragment,
) -> list[Row]:
    """The results of all seeds, in order."""
    folder = work / task.name
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(task, seed, arms, settings, folder, first) for seed in range(seeds)]
    if workers < 2 or seeds < 2:
        found = [one_seed(*job) for job in jobs]
    else:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(one_seed, *zip(*jobs, strict=True)))
    return [row for rows in found for row in rows]


def show(compared: Sequence[Comparison], seeds: int) -> str:
    """A table for each protocol, budget and measure: all selectors, then the controls."""
    out = []
    for one in compared:
        if one.measure not in SHOWN:
            continue
        head = (
            f"{one.protocol}, {one.labels} labels, {one.measure}",
            "accuracy",
            "minus random",
            "verdict",
            "rows",
        )
        rows = [(RANDOM, one.random.text(), "", "", f"{one.labels}")]
        rows += [
            (line.name, line.value.text(), line.gain.text(signed=True), line.gain.verdict, f"{line.rows:g}")
            for line in one.lines
        ]
        out.append(f"{one.task}: {seeds} seeds, mean ± standard error\n{table(head, rows)}")
    return "\n\n".join(out)


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """All results: a line for each seed, arm and budget."""
    with file.open("w", newline="", encoding="utf-8") as sink:
        names = ["task", "protocol", "seed", "arm", "labels", "chosen", *MEASURES]
        writer = csv.DictWriter(sink, names)
        writer.writeheader()
        writer.writerows(rows)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of results and scratch")
    parser.add_argument("tables", nargs="+", help="TABLE, or TABLE=EMBEDDINGS.npy")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--embedding", help="the column of embeddings, where there is one")
    parser.add_argument("--model", help="model folder for the operator embed, where there are no embeddings")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--selectors", nargs="*", default=[], help="only these (all)")
    parser.add_argument("--list", type=Path, nargs="*", default=[], help="further lists of selectors")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="$values of the lists")
    parser.add_argument("--budgets", type=int, nargs="+", default=[18, 100], help="labels in all, cold")
    parser.add_argument("--warm-budgets", type=int, nargs="+", default=[300], help="labels in all, warm")
    parser.add_argument("--start", type=int, default=50, help="labels of the warm seed set")
    parser.add_argument("--batch", type=int, default=50, help="labels of a warm round")
    parser.add_argument("--pool", type=int, default=4000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--draws", type=int, default=3, help="of random rows on each seed")
    parser.add_argument("--placebos", nargs="*", help="selectors (cold: all; warm: the first)")
    parser.add_argument("--claims", type=Path, default=CLAIMS)
    parser.add_argument("--workers", type=int, default=2, help="processes, each with its seeds")
    given = parser.parse_args(arguments)
    for name in ("budgets", "warm_budgets"):
        setattr(given, name, tuple(sorted(set(getattr(given, name)))))
    if min(given.seeds, given.draws, *given.budgets, *given.warm_budgets, given.start, given.batch) < 1:
        parser.error("seeds, draws, budgets, start and batch are at least 1")
    if given.warm_budgets[-1] > given.pool or given.budgets[-1] > given.pool:
        parser.error(f"a pool of {given.pool} rows is smaller than the budget")
    return given


def compare(given: argparse.Namespace) -> tuple[list[Row], list[Comparison]]:
    """Runs the whole study; its results, and the comparisons with random rows."""
    known, left_out = fragments(given.list, given.selectors, settings_of(given.set))
    for name, why in left_out.items():
        print(f"left out: {name} ({why})", flush=True)
    rows: list[Row] = []
    compared: list[Comparison] = []
    for part in given.tables:
        path, _, file = part.partition("=")
        columns = Columns(
            given.text, given.label, None, given.embedding, Path(file) if file else None, given.model
        )
        began, task = time.time(), load(Path(path), given.work, columns)
        check_budgets(task, given)
        own: list[Row] = []
        for protocol in given.protocols:
            budgets = given.budgets if protocol == "cold" else given.warm_budgets
            arms = arms_of(known, protocol, given.draws, placebos(given, known, protocol))
            settings = Settings(budgets, given.test, given.pool, given.start, given.batch)
            own += study(
                task, {protocol: arms}, settings, given.work, given.seeds, given.workers, known[RANDOM]
            )
        rows += [{"task": task.name, **row} for row in own]
        made = comparisons(task.name, own, given.draws)
        compared += made
        wanted = {"cold": set(given.budgets), "warm": set(given.warm_budgets)}
        print(show([one for one in made if one.labels in wanted[one.protocol]], given.seeds))
        print(f"{task.name}: {time.time() - began:.0f} s\n", flush=True)
    return rows, compared


def check_budgets(task: Task, given: argparse.Namespace) -> None:
    """ConfigError where a pool is smaller than a budget: all selectors would take all of it, and tie."""
    used = {"cold": given.budgets, "warm": given.warm_budgets}
    most = max(used[protocol][-1] for protocol in given.protocols)
    labelled = int((task.label != NO_LABEL).sum())
    if (left := labelled - given.test) < most:
        raise ConfigError(
            f"{task.name}: {labelled:,} labelled rows less {given.test:,} held-out ones are "
            f"{max(left, 0):,} to choose {most:,} from: take a smaller budget or a smaller --test"
        )


def placebos(given: argparse.Namespace, known: Mapping[str, Fragment], protocol: str) -> list[str]:
    """Whose ranks are dealt: those asked for; else in the cold protocol, where it costs no run, of all."""
    if given.placebos is not None:
        return list(given.placebos)
    able = [name for name, one in known.items() if name != RANDOM and protocol in one.protocols]
    return able if protocol == "cold" else able[:1]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done, 2 for a bad argument, 3 for bad data."""
    given = parsed(arguments)
    try:
        given.work.mkdir(parents=True, exist_ok=True)
        rows, compared = compare(given)
        claims = check(read_claims(given.claims), compared)
    except TamisError as error:
        print(f"{'bad config' if isinstance(error, ConfigError) else 'bad data'}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 3
    write_csv(rows, given.work / "results.csv")
    print(claims)
    data: Any = [asdict(one) for one in compared]
    (given.work / "results.json").write_text(json.dumps(data, indent=1))
    write_page(given.work / "results.html", compared, claims, given.seeds)
    print(f"written: {given.work}/results.csv, results.json, results.html")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
