"""Claim: with many wrong labels, learning only from the easiest 70 % of the rows halves the error.

    python -m workflows.self_paced WORK TABLE=EMBEDDINGS.npy ... [--seeds 5] [--noise 0 0.2 0.4] [--full]

For each table (columns text and label; without embeddings MiniLM makes them), seed and share of wrong labels,
a layer of 128 over the embeddings is trained on 1,500 rows for 400 steps of 32: on all rows, and with
self-paced learning up to a share of the rows that is its cap (Kumar et al. 2010), by fresh losses or the
step's own, hard or soft, over all rows or `by class`; with reducible losses (Mindermann et al. 2022: a
reference trained on 300 clean other rows; Sujit et al. 2022: an average of the model). `cap chosen` takes,
seed by seed, the cap (or none) with the fewest errors on 300 held-out rows with as many wrong labels.

Measures, as differences to training on all rows on the same seed (its data, first weights and order) with
standard errors: the error on held-out rows with right labels, and the share of wrong labels among the rows
that were trained on. Mind that the reference has seen 300 clean labels more than the others. Controls: all
rows with another order and other weights, and a placebo, whose losses belong to other rows.

Found (subjectivity / sentence_polarity, 5 seeds, 340 CPU-seconds). 40 % wrong: errors of .252 +- .023 / .366
+- .011 on all rows; a cap of 0.7 over all rows .181 / .441: where the model comes to prefer one of the two
classes, the rows of that class become the easy ones, and it learns no other (a cap of 0.5: .360 / .489). By
class .128 +- .003 / .324 +- .007, with the cap chosen .142 +- .020 / .336 +- .006; linear weights .357 /
.488, own losses .200 / .462, no better than the hard ones. The reference: .110 / .299, .11 / .27 wrong labels
among the rows trained on instead of .41; the average .462 / .484, and .47 / .44. 20 % wrong: no cap and no
reference is better on both (.110 / .278 by class against .113 / .281), the average is worse by .21 / .17.
None wrong: .7 by class costs .018 +- .002 / .016 +- .006, the cap chosen .006 +- .005 / 0. Controls were off
by at most .005: take that for noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from workflows.selecting.in_loop import (
    AGAIN,
    RANDOM,
    Arm,
    Data,
    cells,
    conclude,
    controls_off,
    differences,
    jobs,
    prepare,
    read_task,
    run_all,
    show,
    steps,
    study_parser,
    verdict,
)
from workflows.selecting.statistics import Estimate

CAPS = (0.5, 0.7, 0.9)
CHOSEN = "self-paced, by class, cap chosen"
SPL = {"kind": "self_paced", "start": 0.5}
PLACEBO = {"placebo": True}
MEASURES = ("error", "wrong share")
By = dict[str, dict[str, list[float]]]  # arm -> measure -> by seed


def capped(cap: float, by_class: bool = False) -> str:
    return f"self-paced, cap {cap:g}{', by class' if by_class else ''}"


ARMS = (
    Arm(RANDOM),
    Arm(AGAIN, other_seed=True),
    *(Arm(capped(cap), {**SPL, "cap": cap}) for cap in (*CAPS, 1.0)),
    Arm("self-paced, cap 0.7, placebo", {**SPL, **PLACEBO, "cap": 0.7}),
    Arm("self-paced, cap 0.7, own losses", {**SPL, "cap": 0.7, "losses": "own"}),
    *(Arm(capped(cap, True), {**SPL, "cap": cap, "by_class": True}) for cap in CAPS),
    Arm("self-paced, cap 0.7, linear", {**SPL, "cap": 0.7, "weights": "linear"}),
    Arm("reducible, average", {"kind": "reducible_loss", "ema": 0.99, "noise": "accepted", "candidates": 3}),
)
REFERENCE = "reference"
RHO = "reducible, reference"


def config_of(steps_: int) -> TrainConfig:
    return TrainConfig(
        model={"mlp": (128,)},
        objective="classification",
        label="label",
        features="vector",
        examples=steps_ * 32,
        batch_size=32,
        lr=1e-3,
        weight_decay=0.0,
        evals=1,
        checkpoint_every=10**9,
        log_rows=True,
    )


def compared(name: str, given: Sequence[Data], settings: argparse.Namespace) -> By:
    """All measures of one data set at one share of wrong labels, over seeds."""
    config = config_of(settings.steps)
    clean = Arm(REFERENCE, settings={"examples": config.examples}, folder="clean")
    references = [job for data in given for job in jobs(data, config, [clean, Arm(RANDOM)])]
    run_all(references, settings.workers)
    todo: list[Job] = []
    for data, (reference, _) in zip(given, zip(*[iter(references)] * 2, strict=True), strict=True):
        folder = str(Path(reference.folder) / "model")
        rho = {"kind": "reducible_loss", "reference": folder, "candidates": 3}
        todo += jobs(data, config, [*ARMS, Arm(RHO, rho)])
    results = run_all(todo, settings.workers)
    found: By = {}
    valid: dict[str, list[float]] = {}
    arms = len(todo) // len(given)
    for number, (job, result) in enumerate(zip(todo, results, strict=True)):
        point = result["curve"][-1]
        own = found.setdefault(job.arm, {measure: [] for measure in MEASURES})
        own["error"].append(1 - point["accuracy"]["domains"]["test"])
        wrong = given[number // arms].wrong
        own["wrong share"].append(float(np.mean([wrong[row["rows"]].mean() for row in steps(job)])))
        valid.setdefault(job.arm, []).append(1 - point["accuracy"]["domains"]["valid"])
    found[CHOSEN] = chosen(found, valid)
    report(name, found)
    return found


def chosen(found: By, valid: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Of each seed the cap (or none) with the fewest errors on held-out rows, whose labels are as wrong: a
    constant share of errors that no cap can avoid, so that the order of the caps is that of right labels."""
    names = [*(capped(cap, True) for cap in CAPS), RANDOM]
    best = [names[int(np.argmin(one))] for one in zip(*(valid[name] for name in names), strict=True)]
    return {measure: [found[arm][measure][k] for k, arm in enumerate(best)] for measure in MEASURES}


def report(name: str, found: By) -> None:
    columns = {measure: differences(found, measure, 1.0) for measure in MEASURES}
    rows = [[arm, *cells(own, columns, arm)] for arm, own in found.items()]
    head = ["", *[cell for measure in MEASURES for cell in (measure, "- all rows")]]
    show(f"{name}: {len(found[RANDOM]['error'])} seeds, mean and difference to all rows ± errors", head, rows)


def judged(by_noise: Mapping[float, Mapping[str, By]]) -> dict[str, str]:
    """The verdict on every claim."""
    lines = {}
    for noise, by_data in by_noise.items():

        def gains(arm: str, measure: str, data: Mapping[str, By] = by_data) -> list[Estimate]:
            return [differences(values, measure, -1.0)[arm] for values in data.values()]

        for arm in (capped(0.7), capped(0.7, True), CHOSEN, RHO):
            if noise > 0:
                lines[f"{arm} errs less, {noise:.0%} wrong labels"] = verdict(gains(arm, "error"))
        if noise > 0:
            worse = [
                Estimate(-one.mean, one.error, one.n) for one in gains("reducible, average", "wrong share")
            ]
            lines[f"reducible, average takes more wrong labels, {noise:.0%} wrong"] = verdict(worse)
            lines[f"{RHO} takes fewer wrong labels, {noise:.0%} wrong"] = verdict(gains(RHO, "wrong share"))
        else:
            for arm in (capped(0.7), capped(0.7, True), CHOSEN):
                worse = [Estimate(-one.mean, one.error, one.n) for one in gains(arm, "error")]
                lines[f"{arm} costs accuracy where no label is wrong"] = verdict(worse)
    return lines


def controls(by_noise: Mapping[float, Mapping[str, By]]) -> list[str]:
    """The controls that are off by more than two errors."""
    return [
        f"{name}, noise {noise:g}, {arm}: {gain.text(signed=True)}"
        for noise, by_data in by_noise.items()
        for name, values in by_data.items()
        for arm, gain in controls_off(values, "error").items()
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study_parser(__doc__, "+", pool=1500, steps=400, full="20 seeds, 4,000 steps")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    given = parser.parse_args(arguments)
    if given.full:
        given.seeds, given.steps = 20, 4000
    return given


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the study, prints it, and writes WORK/self_paced.json."""
    given = parsed(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    tasks = [read_task(one, given.work) for one in given.tables]
    by_noise: dict[float, dict[str, By]] = {noise: {} for noise in given.noise}
    for task in tasks:
        for noise in given.noise:
            data = [
                prepare(task, seed, given.work, given.pool, given.test, noise) for seed in range(given.seeds)
            ]
            by_noise[noise][task.name] = compared(f"{task.name}, {noise:.0%} wrong labels", data, given)
    verdicts = judged(by_noise)
    off = controls(by_noise)
    conclude(verdicts, off)
    found = {f"noise {noise:g}": by_data for noise, by_data in by_noise.items()}
    table = {**found, "verdicts": verdicts, "controls off": off}
    write_json(given.work / "self_paced.json", table)
    return table


if __name__ == "__main__":
    main()
