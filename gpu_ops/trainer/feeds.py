"""Which feed, objective and held-out data a run's config asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_ops.trainer.batch import Feed
from gpu_ops.trainer.classification import ClassificationObjective
from gpu_ops.trainer.classifier import own_labels
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.evaluate import HeldOut, held_out
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.labelled import Examples, Labelled, classes_of, read_labelled
from gpu_ops.trainer.objective import CausalLmObjective, Objective
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.stream import Vocabulary, tokenise
from gpu_ops.trainer.text_feed import Paced, text_feed


@dataclass(frozen=True)
class Material:
    """What the runs of a comparison read, made once: the key of each content and its path.

    vocab: tokens of the vocabulary, or numbers in a vector. key: of whatever turned documents into this.
    joint: texts for further losses."""

    held: tuple[str, str]
    folders: Mapping[str, tuple[str, str]]
    vocab: int
    key: str
    classes: tuple[str, ...] = ()
    joint: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def gather(
    config: TrainConfig, folders: Sequence[str], holdout: str, cache: Path, joint: Iterable[str] = ()
) -> Material:
    """Reads, or takes from the cache, the folders of all arms and the held-out one; `joint`: folders that
    are read as plain text beside them."""
    material = _gather(config, folders, holdout, cache)
    texts = sorted(set(joint))
    if not texts:
        return material
    vocabulary = Vocabulary.load(config.tokenizer_folder)
    return replace(material, joint={folder: tokenise(folder, vocabulary, cache) for folder in texts})


def _gather(config: TrainConfig, folders: Sequence[str], holdout: str, cache: Path) -> Material:
    if config.objective == "classification":
        return _gather_labelled(config, folders, holdout, cache)
    vocabulary = Vocabulary.load(config.tokenizer_folder)
    key, held = held_out(holdout, vocabulary, config.seq_len, config.eval_bytes)
    path = cache / f"{key}.npz"
    held.save(path)
    found = {folder: tokenise(folder, vocabulary, cache) for folder in folders}
    return Material((key, str(path)), found, vocabulary.size, vocabulary.key)


def _gather_labelled(config: TrainConfig, folders: Sequence[str], holdout: str, cache: Path) -> Material:
    vocabulary = None if config.features else Vocabulary.load(config.tokenizer_folder)
    found = {folder: read_labelled(folder, config, vocabulary, cache) for folder in (*folders, holdout)}
    widths = {part.width: folder for folder, part in found.items()}
    if len(widths) > 1:
        raise ValueError(f"features {config.features!r} differ in length: {widths}")
    classes = classes_of(found.values())
    if len(classes) < 2:
        raise ValueError(f"all documents have the {config.label} {classes[0]!r}; nothing is to be told apart")
    classes = own_labels(config.init, classes) or classes
    held = found[holdout]
    paths = {folder: (found[folder].key, found[folder].path) for folder in folders}
    size, key = (vocabulary.size, vocabulary.key) if vocabulary else (held.width, "vectors")
    return Material((held.key, held.path), paths, size, f"{key} {classes}", classes)


def data_warnings(jobs: Sequence[Job]) -> list[str]:
    """What was left out of labelled data, and which classes cannot be learned."""
    if jobs[0].config.objective != "classification":
        return []
    parts = {job.name: Labelled.load(job.tokens) for job in jobs if not job.untrained}
    held = Labelled.load(jobs[0].held)
    found = [
        f"{name}: {part.left_out:,} of {part.left_out + part.rows:,} documents have no label or nothing to "
        "read, and were left out"
        for name, part in [*parts.items(), ("held-out", held)]
        if part.left_out
    ]
    unknown = sorted(set(held.labels).difference(*(part.labels for part in parts.values())))
    if unknown:
        found.append(f"no arm has documents of the held-out classes {unknown[:9]}: they count as wrong")
    return found


def make_feed(job: Job) -> Feed:
    """The training data in the job's order."""
    if job.config.objective == "classification":
        return Examples(job.tokens, job.classes, job.seed, job.shuffle)
    feed = text_feed(job.tokens, job.seed, job.shuffle, job.config)
    if job.config.pacing is None:
        return feed
    return Paced(feed, job.config.pacing, job.seed, make_schedule(job.config, feed).end)


def make_schedule(config: TrainConfig, feed: Feed) -> Schedule:
    """The steps that the budget takes. A row of documents of several lengths counts as many tokens as the
    documents have on average, without padding."""
    whole = feed.unit == "rows"
    row = feed.corpus_tokens / feed.size if whole else config.seq_len
    if config.tokens is not None:
        rows = config.tokens / row
    elif config.examples is not None:
        rows = config.examples
    else:
        assert config.epochs is not None  # TrainConfig sees to it
        rows = config.epochs * (feed.size if whole else feed.size / config.seq_len)
    return Schedule.of(config, feed.unit, rows, row / config.seq_len)


def make_objective(job: Job, network: Any) -> Objective:
    """What the model is trained to do."""
    if job.config.objective == "classification":
        pad = 0 if job.config.features else network.config.get_text_config().pad_token_id
        return ClassificationObjective(pad)
    return CausalLmObjective()


def load_held(job: Job) -> Any:
    """What `Objective.evaluate` reads."""
    if job.config.objective == "classification":
        return Examples(job.held, job.classes)
    return HeldOut.load(job.held)


def domains_of_held(job: Job, held: Any) -> Sequence[str]:
    """The domains that an evaluation tells apart."""
    found: Sequence[str] = held.data.domains if job.config.objective == "classification" else held.domains
    return found
