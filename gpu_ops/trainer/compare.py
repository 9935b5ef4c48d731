"""Trains one model on several selections at equal tokens, seed by seed, and compares held-out losses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_ops.trainer import summary
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_select import reference_folder
from gpu_ops.trainer.feeds import data_warnings, gather
from gpu_ops.trainer.files import content_key, write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.pool import Pool
from gpu_ops.trainer.probe import read_passages
from gpu_ops.trainer.stream import Vocabulary

VERSION = 2  # raised when the same run would give other losses
# What does not make another run; of `init` and `tokenizer` the content enters by hash.
EXECUTION = {"device", "threads", "parallel", "data_workers", "checkpoint_every", "checkpoints_kept"}
EXECUTION |= {"energy", "log", "peak_flops", "init", "tokenizer"}
NOT_IDENTITY: dict[str, Any] = {**dict.fromkeys(EXECUTION, True), "select": {"reference"}}
SHARED = {"objective", "label", "features", "tokenizer"}  # what the evaluation depends on
BASELINE = "baseline"


@dataclass(frozen=True)
class Arm:
    """A way to choose or order the training data, or to train on it.

    folders: seed -> folder of data files (one folder may serve all seeds). shuffle: permute the documents by
    the seed; else they are taken in file order. settings: fields of the config that are other than the
    comparison's, such as an in-loop selection.
    """

    name: str
    folders: Mapping[int, str]
    shuffle: bool
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, common: TrainConfig) -> TrainConfig:
        """The arm's own recipe. ValidationError for fields that do not fit."""
        return TrainConfig.model_validate({**common.model_dump(), **self.settings})


def compare(
    config: TrainConfig,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    holdout: str,
    out: str,
    workers: int = 2,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Trains every (arm, seed) on the same number of tokens; writes `out/<arm>-<seed>/` and
    `out/compare.json`, and returns what the latter holds. Losses are nats per byte of held-out text.

    Finished runs of the same config, data and seed are taken as they are, others go on from their last
    checkpoint. `progress` gets {"arm", "seed", "step", "steps", "loss", "tokens_per_s"}. Spread and standard
    errors are None for a single seed.

    Raises ValueError for arms, seeds or a model that do not fit, FileNotFoundError for missing folders,
    FloatingPointError when a loss is no longer finite, RuntimeError when a process dies. A failure in a
    worker process is raised here, with its traceback.
    """
    _check(arms, seeds)
    together = 1 if config.parallel is None else config.parallel.processes
    at_a_time = max(1, min(workers // together, len(arms) * len(seeds)))
    pool = Pool(at_a_time, config.device, config.threads or 1)
    try:
        if not (Path(out) / "compare.json").exists():
            pool.warm_up()
        jobs = _jobs(config, arms, seeds, holdout, Path(out))
        results = pool.results(jobs, progress or (lambda _: None))
    finally:
        pool.close()
    baseline, *trained = results
    by_arm = {arm.name: [r for r in trained if r["arm"] == arm.name] for arm in arms}
    table = {
        "arms": {name: summary.arm_summary(found) for name, found in by_arm.items()},
        "paired": summary.paired(by_arm),
        **{f"paired_{what}": found for what in summary.BESIDE if (found := summary.paired(by_arm, what))},
        "resources": summary.resources(trained),
        "baseline": baseline["curve"][0],
        "config": config.model_dump(mode="json"),
        "warnings": [*summary.warnings(by_arm), *data_warnings(jobs)],
    }
    write_json(Path(out) / "compare.json", table)
    return table


def _check(arms: Sequence[Arm], seeds: Sequence[int]) -> None:
    names = [arm.name for arm in arms]
    if not names or len(set(names)) < len(names) or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"needed are distinct arms and distinct seeds, got {names} and {list(seeds)}")
    for arm in arms:
        if shared := sorted(SHARED & set(arm.settings)):
            raise ValueError(f"arm {arm.name!r} cannot have {shared} of its own: losses would not compare")
        if not re.fullmatch(r"[\w.+-]+", arm.name) or arm.name == BASELINE:
            raise ValueError(f"an arm cannot be called {arm.name!r}; take letters, digits, _, . and -")
        missing = [seed for seed in seeds if seed not in arm.folders]
        if missing:
            raise ValueError(f"arm {arm.name!r} has no folder for the seeds {missing}")


def _jobs(
    config: TrainConfig, arms: Sequence[Arm], seeds: Sequence[int], holdout: str, out: Path
) -> list[Job]:
    """The untrained model's evaluation, then every (arm, seed); each folder is tokenised once."""
    cache = out / "tokens"
    cache.mkdir(parents=True, exist_ok=True)
    folders = sorted({arm.folders[seed] for arm in arms for seed in seeds})
    configs = {arm.name: arm.config(config) for arm in arms}
    joint = _joint_folders(arms, configs, seeds)
    material = gather(config, folders, holdout, cache, joint)
    held_key, held_path = material.held

    def job(arm: Arm, seed: int, untrained: bool) -> Job:
        own = configs.get(arm.name, config)
        more = [material.joint[part.folder or arm.folders[seed]] for part in own.joint if not untrained]
        probed = own.probe and read_passages(own.probe, Vocabulary.load(own.tokenizer_folder), cache)
        key, path = material.folders[arm.folders[seed]]
        what = f"{VERSION} {own.model_dump_json(exclude=NOT_IDENTITY)} {held_key} {material.key}"
        what += f" {[key for key, _ in more]} {probed and probed[0]}"
        identity = content_key(_model_files(own), f"{what} {key} {arm.shuffle} {seed} {untrained}")
        folder = str(out / f"{arm.name}-{seed}")
        parts = tuple(path for _, path in more)
        fixed = (material.vocab, folder, untrained, identity, material.classes, parts)
        return Job(arm.name, seed, own, path, held_path, arm.shuffle, *fixed, probed[1] if probed else None)

    baseline = Arm(BASELINE, arms[0].folders, False)
    pairs = [job(arm, seed, False) for seed in seeds for arm in arms]
    return [job(baseline, seeds[0], True), *pairs]


def _joint_folders(arms: Sequence[Arm], configs: Mapping[str, TrainConfig], seeds: Sequence[int]) -> set[str]:
    """The documents of further losses."""
    found: set[str] = set()
    for arm in arms:
        for part in configs[arm.name].joint:
            if part.input is not None:
                raise ValueError(
                    f"joint: input: {part.input!r} is a node of a pipeline; give a `folder` here"
                )
            found |= {part.folder} if part.folder else {arm.folders[seed] for seed in seeds}
    return found


def _model_files(config: TrainConfig) -> list[Path]:
    """Those of the checkpoint to go on from and of the reference, where there are any."""
    found: list[Path] = []
    for name, given in (("init", config.init), ("reference", reference_folder(config.select))):
        if given is None:
            continue
        folder = Path(given)
        if not folder.is_dir():
            raise FileNotFoundError(f"{name}: no checkpoint folder {given!r}")
        found += sorted([folder / "config.json", *folder.glob("*.safetensors")])
    return found
