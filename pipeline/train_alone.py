"""`tamis train`: one recipe on a folder of documents, without a pipeline around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config_reader import ConfigReader
from pipeline.errors import ConfigError
from pipeline.fields import Problem, known_fields
from pipeline.overrides import apply_set
from pipeline.progress import Progress
from pipeline.sections import Section
from pipeline.train import resolved, shown, told_apart
from pipeline.trainer_fields import check_trainer
from pipeline.units import number, percent, seconds, short
from pipeline.yaml_positions import read, read_file

ARM = "model"


class AloneSection(Section):
    """What a recipe is trained on, and where the results go. Every other key goes to the trainer."""

    data: str
    """Folder of documents to train on: Parquet, Arrow or JSON lines with a column `text`."""
    holdout: str
    """Folder of documents to evaluate on."""
    out: str
    """Folder for checkpoints, figures and the model, in one folder a seed."""
    shuffle: bool = True
    """Another order of the documents for every seed and epoch; else they are read as the files have them."""
    seeds: list[int] = Field([0], min_length=1)
    """One run for each."""


def train_alone(
    path: str, sets: Sequence[str], workers: int | None, progress: Progress
) -> tuple[dict[str, Any], Path]:
    """Trains as the YAML file says. Returns what `compare` does and the folder of the results.

    Raises ConfigError with every problem of the file and its line, DataError for documents that cannot be
    trained on."""
    file = Path(path)
    section, fields = _read(file, sets)
    from gpu_ops.trainer.compare import Arm, compare
    from gpu_ops.trainer.config import TrainConfig

    config = TrainConfig(**resolved(fields, file.parent))
    data, holdout, out = (str(file.parent / name) for name in (section.data, section.holdout, section.out))
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{file}: out: {out!r} cannot be written ({error.strerror}); take another"
        ) from error
    arm = Arm(ARM, dict.fromkeys(section.seeds, data), section.shuffle)
    progress.note(f"training on {data}: {len(section.seeds)} runs")
    most = workers or len(section.seeds)
    with told_apart():
        found = compare(config, [arm], section.seeds, holdout, out, most, shown(progress))
    return found, Path(out)


def _read(file: Path, sets: Sequence[str]) -> tuple[AloneSection, dict[str, Any]]:
    document = read(read_file(file, "a YAML file"), str(file))
    keys = list(known_fields(AloneSection))
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{file}:1: a mapping with the keys {', '.join(keys)} and the trainer's own is wanted"
        )
    for argument in sets:
        apply_set(document, argument)
    reader = ConfigReader(document, file.parent)
    own = {key: value for key, value in document.value.items() if key in keys}
    rest = {key: value for key, value in document.value.items() if key not in keys}
    fields, problems = check_trainer(rest, keys)
    missing = [key for key in ("data", "holdout") if isinstance(own.get(key), str)]
    missing = [key for key in missing if not (file.parent / own[key]).exists()]
    problems += [Problem((key,), f"{key}: there is no folder {own[key]!r}") for key in missing]
    for problem in problems:
        reader.problem(problem.where, problem.text)
    section = reader.section(AloneSection, own, (), "train")
    document.refuse_problems()
    assert section is not None  # else there was a problem
    return section, fields


def lines(found: Mapping[str, Any], out: Path) -> list[str]:
    """The end of a training in the terminal: losses before and after, what it took, where the model is."""
    final, before, took = found["arms"][ARM]["final"], found["baseline"], found["resources"]
    seeds = found["arms"][ARM]["seeds"]
    rows = [(name, before["domains"][name], after["mean"]) for name, after in final["domains"].items()]
    rows.append(("mean of the domains", before["macro"], final["macro"]["mean"]))
    sizes = f"{short(took['parameters'])} parameters, {short(took['tokens'])} tokens"
    speed = short(took["tokens_per_s"])
    mfu = "" if took["mfu"] is None else f", {percent(took['mfu'], 1)} of the device's peak"
    energy = f"{number(took['kwh'])} kWh, {number(took['kg_co2e'])} kg CO2e"
    return [
        f"{'held-out, nats per byte':<28} {'before':>8} {'after':>8}",
        *(f"  {name:<26} {old:8.4f} {new:8.4f}" for name, old, new in rows),
        f"{sizes}, {short(took['flops'], 'FLOP')}, {seconds(took['seconds'])}: {speed} tokens/s{mfu}",
        *([] if took["kwh"] is None else [energy]),
        *(f"warning: {warning}" for warning in found["warnings"]),
        *(f"{kind}: {out / f'{ARM}-{seed}' / kind}" for seed in seeds for kind in _written(found["config"])),
    ]


def _written(config: Mapping[str, Any]) -> list[str]:
    """The folders that a run of this config leaves."""
    adapter = config["peft"] is not None
    return [*(["adapter"] if adapter else []), *(["model"] if config["merge"] or not adapter else [])]
