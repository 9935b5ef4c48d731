"""Claim: rows that a selector picks to be labelled teach a classifier more than as many random ones.

    python -m workflows.active_learning TABLE WORK --embeddings FILE.npy [--selector margin] [--seeds 5]
    python -m workflows.active_learning TABLE WORK --model FOLDER --oracle file --id id

A random seed set is labelled, a classifier trained on its embeddings, the selector asked for rows, an oracle
for their labels, and so on. `--oracle column` simulates: labels come from the table's own column; the curve
of held-out accuracy and macro F1 over labelled rows is written for the selector and for random rows, seed by
seed (`curve.csv`, `curve.html`). `--oracle file` asks people: each round writes `ask-ROUND.csv` (or .jsonl)
with id, text, the classifier's guess and its confidence, and ends with the exit code 4; fill in the column
`label` and run the same command again. Every round is one run of a DAG in WORK, whose store keeps what was
computed of the pool; labels are files there, one a round, so a study that was killed goes on where it was.

The gain is not dependable: from 50 to 250 labels margin was +.000 +- .003 better than random rows on
subjectivity, +.026 +- .004 on banking77 (`workflows/compare_selectors.py`, which compares many selectors).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.errors import ConfigError, TamisError
from workflows.bench.tables import table
from workflows.selecting.asking import Ask, Waiting, answered, write_ask
from workflows.selecting.branches import RANDOM, Branch, Fragment, choose, fragments, replaced, settings_of
from workflows.selecting.heads import head_of, macro_f1, predicted
from workflows.selecting.pages import FAINT, STRONG, panel, save, write_curves
from workflows.selecting.protocols import POOL, dag_seed
from workflows.selecting.statistics import Estimate, estimate, paired
from workflows.selecting.task import Columns, Int64s, Split, Task, load, split, write_pool

WAITING = 4  # the exit code while answers are awaited
MEASURES = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Plan:
    """What is asked: `start` rows at first, then `batch` in each of `rounds`."""

    start: int
    batch: int
    rounds: int
    oracle: str
    form: str
    partial: bool

    def wanted(self, number: int) -> int:
        return self.start if number == 0 else self.batch


class Loop:
    """One selector on one seed, in a folder of its own: `labels-R.csv` holds what is known after round R."""

    def __init__(
        self, task: Task, parts: Split, seed: int, fragment: Fragment, first: Fragment, folder: Path
    ):
        self.task, self.parts, self.seed, self.folder = task, parts, seed, folder
        self.fragment, self.first = fragment, first
        self.place = {task.ids[i]: int(i) for i in parts.pool}

    def labels(self, number: int) -> dict[str, str] | None:
        """id -> label after a round; None before it is over."""
        file = self.folder / f"labels-{number}.csv"
        if not file.is_file():
            return None
        with file.open(newline="", encoding="utf-8") as lines:
            return {row["id"]: row["label"] for row in csv.DictReader(lines)}

    def go(self, plan: Plan) -> list[dict[str, Any]]:
        """All rounds that are not over yet; the curve; it ends where the pool does. Waiting for labels."""
        known: dict[str, str] = {}
        curve = []
        for number in range(plan.rounds + 1):
            after = self.labels(number)
            if after is None and known and len(known) == len(self.parts.pool):
                break  # nobody is left to be asked for
            if after is None:
                after = known | self.answer(plan, number, known)
                self.keep(number, after)
            elif plan.oracle == "file":
                self.look_for_late_answers(plan, number, after)
            known = after
            curve.append({"round": number, "labels": len(known), **self.tested(known)})
        return curve

    def answer(self, plan: Plan, number: int, known: Mapping[str, str]) -> dict[str, str]:
        """The labels of the rows that are asked in this round."""
        file = self.folder / f"ask-{number}.{plan.form}"
        if plan.oracle == "file" and file.is_file():
            return answered(Ask.read(file), self.asked(number), self.allowed(), plan.partial)
        rows = self.chosen(number, plan.wanted(number), known)
        ids = [self.task.ids[i] for i in rows]
        if plan.oracle == "column":
            return {one: self.task.names[self.task.label[i]] for one, i in zip(ids, rows, strict=True)}
        guess = self.guess(known, rows)
        save(self.folder / f"asked-{number}.json", json.dumps(ids))
        write_ask(file, ids, [self.task.texts[i] for i in rows], guess)
        raise Waiting(f"{len(ids)} rows to label: fill in the column `label` of {file} and run this again")

    def look_for_late_answers(self, plan: Plan, number: int, kept: Mapping[str, str]) -> None:
        """Says so where a file of a round that is over has other labels than those it went on with."""
        file = self.folder / f"ask-{number}.{plan.form}"
        rows = Ask.read(file).rows if file.is_file() else []
        late = [one for one, label in rows if label and kept.get(one) != label]
        if late:
            print(
                f"warning: {file} has other labels than labels-{number}.csv for {len(late)} rows "
                f"({late[0]}...), which later rounds were chosen without; to use them, remove "
                f"labels-{number}.csv and the ask-, asked- and labels- files of later rounds, and run again",
                file=sys.stderr,
            )

    def asked(self, number: int) -> list[str]:
        """The ids that the file of this round was written with."""
        ids: list[str] = json.loads((self.folder / f"asked-{number}.json").read_text())
        return ids

    def chosen(self, number: int, k: int, known: Mapping[str, str]) -> Int64s:
        """Rows of the task; ConfigError where none is left."""
        fragment = self.first if number == 0 else self.fragment
        branch = Branch("select", fragment, k, dict(known))
        places = choose(self.folder, POOL, dag_seed(self.seed), [branch])["select"]
        if not len(places):
            raise ConfigError(
                f"round {number}: {fragment.name} finds no row to ask for: ask for fewer rounds"
            )
        return self.parts.pool[places]

    def allowed(self) -> list[str]:
        """The labels that an answer may have; any, where none is known."""
        return self.task.names

    def keep(self, number: int, labels: Mapping[str, str]) -> None:
        """The labels after a round, in one step."""
        lines = [["id", "label"], *labels.items()]
        file = self.folder / f"labels-{number}.tmp"
        with file.open("w", newline="", encoding="utf-8") as sink:
            csv.writer(sink).writerows(lines)
        file.replace(file.with_suffix(".csv"))

    def trained(self, known: Mapping[str, str]) -> tuple[Any, list[str]]:
        """The classifier of the labels known, and its labels."""
        names = sorted({*self.task.names, *known.values()})
        rows = [self.place[one] for one in known]
        label = np.array([names.index(one) for one in known.values()], np.int64)
        return head_of(self.task.x[rows], label, len(names)), names

    def guess(self, known: Mapping[str, str], rows: Int64s) -> list[tuple[str, float]]:
        """The classifier's label and its probability, for each row; nothing before the first answers."""
        if not known:
            return [("", 0.0)] * len(rows)
        head, names = self.trained(known)
        p = np.exp(head.log_probabilities(self.task.x[rows]))
        return [(names[int(i)], float(row[i])) for row, i in zip(p, p.argmax(axis=1), strict=True)]

    def tested(self, known: Mapping[str, str]) -> dict[str, float]:
        """Accuracy and macro F1 on the held-out rows; nothing without such rows."""
        test = self.parts.test
        if not len(test):
            return {}
        head, names = self.trained(known)
        truth = np.array([names.index(self.task.names[i]) for i in self.task.label[test]], np.int64)
        guess = predicted(head, self.task.x[test])
        return {"accuracy": float(np.mean(guess == truth)), "macro_f1": macro_f1(truth, guess, len(names))}


def study(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The curves of all seeds and selectors."""
    known, _ = fragments(given.list, [given.selector], settings_of(given.set))
    columns = Columns(given.text, given.label, given.id, given.embedding, given.embeddings, given.model)
    task = load(given.table, given.work, columns, given.labels)
    same_study(given, task, known[given.selector])
    plan = Plan(given.start, given.batch, given.rounds, given.oracle, given.form, given.partial)
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds if given.oracle == "column" else 1):
        parts = parted(task, seed, given)
        for name in (given.selector, RANDOM) if given.oracle == "column" else (given.selector,):
            folder = given.work / f"seed-{seed}" / name
            folder.mkdir(parents=True, exist_ok=True)
            write_pool(task, parts.pool, folder / POOL)
            loop = Loop(task, parts, seed, known[name], known[RANDOM], folder)
            with threadpool_limits(1):
                rows += [{"seed": seed, "selector": name, **point} for point in loop.go(plan)]
    return rows


def parted(task: Task, seed: int, given: argparse.Namespace) -> Split:
    """The pool and the held-out rows. Where people are asked, rows that have a label already are held out, if
    there are any; simulated, a share of the rows, and the pool has those that the oracle knows."""
    labelled = np.flatnonzero(task.label >= 0)
    if given.oracle == "file":
        if len(labelled) == len(task):
            raise ConfigError(f"{given.table}: no row is without a label, so there is nothing to ask people")
        return Split(np.flatnonzero(task.label < 0), labelled)
    if not len(labelled):
        raise ConfigError(f"{given.table}: no row has a label, so none can be simulated: use --oracle file")
    parts = split(task, seed, max(1, round(given.holdout * len(labelled))), None)
    return Split(parts.pool[task.label[parts.pool] >= 0], parts.test)


def same_study(given: argparse.Namespace, task: Task, fragment: Fragment) -> None:
    """ConfigError where the folder holds a study of other rows or with other settings."""
    names = ("selector", "start", "batch", "oracle", "form", "holdout")
    now = {"rows": task.identity, **{name: getattr(given, name) for name in names}}
    now["nodes"] = replaced(fragment.nodes, lambda text: text)
    file = given.work / "study.json"
    before = json.loads(file.read_text()) if file.is_file() else now
    for name, value in now.items():
        if before.get(name) != value:
            raise ConfigError(
                f"{given.work} holds a study with {name} = {before.get(name)!r}, not {value!r}: "
                "use another folder, or delete it"
            )
    save(file, json.dumps(now, indent=1))


def summary(rows: Sequence[Mapping[str, Any]], selector: str) -> str:
    """The curve as a table: the selector, random rows, and the paired difference, with standard errors."""
    head = ("labels", selector, RANDOM, "difference", "verdict", "macro F1, difference")
    lines = []
    arms = len({(row["seed"], row["selector"]) for row in rows})
    count = Counter(row["round"] for row in rows)
    for number in sorted(one for one in count if count[one] == arms):  # one may have used up its pool before
        cell = {
            name: [r for r in rows if (r["round"], r["selector"]) == (number, name)]
            for name in (selector, RANDOM)
        }
        ours, theirs = ([r["accuracy"] for r in cell[name]] for name in (selector, RANDOM))
        f1 = paired(*([r["macro_f1"] for r in cell[name]] for name in (selector, RANDOM)))
        gain = paired(ours, theirs)
        sizes = [float(np.mean([row["labels"] for row in cell[name]])) for name in (selector, RANDOM)]
        labels = f"{sizes[0]:g}" if sizes[0] == sizes[1] else f"{sizes[0]:g} (random {sizes[1]:g})"
        values = (estimate(ours).text(), estimate(theirs).text(), gain.text(signed=True))
        lines.append((labels, *values, gain.verdict, f1.text(signed=True)))
    return table(head, lines)


def write_curve(rows: Sequence[Mapping[str, Any]], work: Path, selector: str) -> None:
    """`curve.csv` with every round of every seed, and `curve.html`."""
    with (work / "curve.csv").open("w", newline="", encoding="utf-8") as sink:
        writer = csv.DictWriter(sink, ["seed", "selector", "round", "labels", *MEASURES])
        writer.writeheader()
        writer.writerows(rows)
    names = list(dict.fromkeys(row["selector"] for row in rows))
    panels = []
    for measure in MEASURES:
        series: dict[str, list[tuple[int, Estimate]]] = {name: [] for name in names}
        for name in names:
            own = [row for row in rows if row["selector"] == name]
            for number in sorted({row["round"] for row in own}):
                here = [row for row in own if row["round"] == number]
                series[name].append((here[0]["labels"], estimate([row[measure] for row in here])))
        panels.append(panel(measure.replace("_", " "), series, {RANDOM: FAINT, selector: STRONG}))
    about = "What a classifier of the labelled rows gets right of held-out ones."
    legend = {name: FAINT if name == RANDOM else STRONG for name in names}
    write_curves(work / "curve.html", f"Labels chosen by {selector}", about, panels, legend)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("table", type=Path, help="Parquet, CSV or JSONL")
    parser.add_argument("work", type=Path, help="folder of this study")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--id", help="the column that names rows; else their numbers do")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--embedding", help="the column of embeddings")
    source.add_argument("--embeddings", type=Path, help="a .npy file, a row for each of the table")
    source.add_argument("--model", help="model folder for the operator embed")
    parser.add_argument("--selector", default="margin")
    parser.add_argument("--list", type=Path, nargs="*", default=[], help="further lists of selectors")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="$values of the lists")
    parser.add_argument("--start", type=int, default=50, help="rows of the random seed set")
    parser.add_argument("--batch", type=int, default=50, help="rows of every later round")
    parser.add_argument("--rounds", type=int, default=8, help="after the seed set; may grow from run to run")
    parser.add_argument("--seeds", type=int, default=5, help="of a simulation")
    parser.add_argument("--holdout", type=float, default=0.2, help="share of a simulation's rows to test on")
    parser.add_argument("--oracle", choices=("column", "file"), default="column")
    parser.add_argument("--labels", nargs="+", help="the labels that there may be (those of the table)")
    parser.add_argument("--form", choices=("csv", "jsonl"), default="csv", help="of the files that ask")
    parser.add_argument("--partial", action="store_true", help="go on with answers that are there")
    given = parser.parse_args(arguments)
    if min(given.start, given.batch, given.seeds) < 1 or given.rounds < 0 or not 0 < given.holdout < 1:
        parser.error("start, batch and seeds are at least 1, rounds at least 0, holdout between 0 and 1")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done, 2 for a bad argument, 3 for bad data or a bad answer, 4 while an answer is awaited."""
    given = parsed(arguments)
    try:
        given.work.mkdir(parents=True, exist_ok=True)
        rows = study(given)
    except Waiting as waiting:
        print(f"waiting: {waiting}", file=sys.stderr)
        return WAITING
    except TamisError as error:
        print(f"{'bad config' if isinstance(error, ConfigError) else 'bad data'}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 3
    if all("accuracy" in row for row in rows):
        write_curve(rows, given.work, given.selector)
        if given.oracle == "column" and given.selector != RANDOM:
            print(summary(rows, given.selector))
        else:
            print(
                table(
                    ("labels", *MEASURES),
                    [[f"{r['labels']}", *(f"{r[m]:.4f}" for m in MEASURES)] for r in rows],
                )
            )
        print(f"written: {given.work}/curve.csv, curve.html")
    else:
        print("no row of the table has a label, so there is no curve; the labels are the result")
    last = max((row["round"] for row in rows), default=0)
    if last < given.rounds:
        print(f"every row of the pool has a label after round {last}, so there are no {given.rounds} rounds")
    print(f"labels: {given.work}/seed-*/*/labels-{last}.csv")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
