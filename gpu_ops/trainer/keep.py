"""Which model of a run counts, and how it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_ops.trainer import tuning
from gpu_ops.trainer.early import best
from gpu_ops.trainer.sitting import Sitting


def kept(run: Sitting) -> int:
    """The number of the evaluation of the model that is exported."""
    rule = run.job.config.early_stop
    return best(run.curve, rule.on) if rule is not None and rule.keep == "best" else len(run.curve) - 1


def is_best(run: Sitting) -> bool:
    """Whether the last evaluation is the best one so far, and that one is wanted."""
    rule = run.job.config.early_stop
    return rule is not None and rule.keep == "best" and kept(run) == len(run.curve) - 1


def candidate(run: Sitting, number: int) -> Path:
    """Where the best model so far waits, by the number of its evaluation: a spike may go back behind it."""
    return Path(run.job.folder) / "candidates" / str(number)


def export_kept(run: Sitting, folder: Path) -> None:
    """The model of the evaluation that counts: the last one, or a candidate."""
    if kept(run) == len(run.curve) - 1:
        export_model(run, folder)
    elif run.world.first:
        for path in candidate(run, kept(run)).iterdir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
            path.rename(folder / path.name)
    if run.world.first:
        shutil.rmtree(folder / "candidates", ignore_errors=True)


def prune(run: Sitting) -> None:
    """At a checkpoint, behind which no spike goes back: the other candidates are of no use."""
    if not run.world.first or not run.curve:
        return
    stays = candidate(run, kept(run))
    for path in stays.parent.glob("*"):
        if path != stays:
            shutil.rmtree(path)


def export_model(run: Sitting, folder: Path) -> None:
    """The trained model as a Hugging Face folder `model`, tokenizer included; an adapter as peft's folder
    `adapter`, and merged into `model` where that is wanted."""
    weights = run.world.gathered(run.network)
    if not run.world.first:
        return
    given = {} if weights is None else {"state_dict": weights}
    trained = run.network
    with _without_bars():
        if tuning.is_adapted(trained):
            trained.save_pretrained(folder / "adapter", **given)
            if not run.job.config.merge:
                return
            trained, given = trained.merge_and_unload(), {}
        trained.save_pretrained(folder / "model", **given)
    if run.job.config.features:
        return
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = Path(run.job.config.tokenizer_folder) / name
        if source.is_file():
            (folder / "model" / name).write_bytes(source.read_bytes())


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws a bar for every file that it writes, across the run's own display."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
