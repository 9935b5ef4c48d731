"""The law of identity: values are found again under a key that is made of what they depend on, no more."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from operators.contract import Recipe, UserFile
from pipeline.engine import Resources
from pipeline.errors import ConfigError, DataError
from pipeline.fields import alternatives
from pipeline.law_bench import Bench, BrokenLaw, Trial
from pipeline.law_corpus import corpus
from pipeline.nodes import identity_of
from pipeline.store import key_of

ELSEWHERE = Resources(workers=3, gpus=0.5, batch=5, device="cuda")


class Keys:
    """The keys that the trials' nodes would have in a run."""

    def __init__(self, bench: Bench, trials: Iterable[Trial]) -> None:
        self.bench = bench
        self.store = bench.store()
        self.source = bench.corpus(list(trials), 1)

    def of(self, trial: Trial, source: Path | None = None, resources: Resources | None = None) -> str:
        """The key of the trial's node; of a part that cannot be a node the key of its fields."""
        if trial.inner():
            return key_of(trial.spec.identity, identity_of(trial.operator))
        config = self.bench.config([trial], source or self.source)
        node = replace(config.nodes[0], resources=resources or Resources())
        return self.bench.graph(replace(config, nodes=(node,)), self.store).nodes[trial.name].key


def identity(bench: Bench, trials: list[Trial]) -> str:
    """Equal fields give an equal key, any other field another one; execution and places leave it."""
    keys = Keys(bench, trials)
    varied: set[str] = set()
    effective: set[str] = set()
    for trial in trials:
        key = keys.of(trial)
        _stays(keys, trial, key)
        for name in type(trial.operator).model_fields:
            other = _files(keys, trial, key, name) or _another(keys, trial, name)
            if other is None:
                continue
            varied.add(name)
            if keys.of(other) != key:
                effective.add(name)
            elif not _same_parts(trial, other):
                raise BrokenLaw(
                    f"{name} = {trial.fields.get(name)!r} and {other.fields[name]!r} give the same key, so "
                    "results of the one would be taken for the other's; leave dumping fields to pydantic"
                )
    if idle := sorted(varied - effective):
        raise BrokenLaw(f"the field {idle[0]} reaches none of the recipe's parts, in no example")
    missed = sorted(set(type(trials[0].operator).model_fields) - varied) if trials else []
    return f"{len(varied)} fields varied" + (f", but not {', '.join(missed)}" if missed else "")


def _same_parts(one: Trial, other: Trial) -> bool:
    """Whether two recipes are the same recipe: a field may mean nothing beside some others."""
    a, b = one.operator, other.operator
    return isinstance(a, Recipe) and isinstance(b, Recipe) and a.parts() == b.parts()


def _stays(keys: Keys, trial: Trial, key: str) -> None:
    if keys.of(trial) != key:
        raise BrokenLaw("the same fields give another key the second time; are there sets or clocks in them?")
    if keys.of(trial, resources=ELSEWHERE) != key:
        raise BrokenLaw("resources (workers, batch, device) change the key; they are execution only")
    moved = keys.bench.folder / "moved"
    shutil.copytree(keys.source, moved, dirs_exist_ok=True)
    if keys.of(trial, source=moved) != key:
        raise BrokenLaw("the same files in another folder give another key")


def _another(keys: Keys, trial: Trial, name: str) -> Trial | None:
    """The trial with another valid value of one field, if one can be found."""
    for value in _values(trial, name):
        other = replace(trial, fields={**trial.fields, name: value})
        operator, problems = other.spec.check(dict(other.fields))
        if operator is None or problems or getattr(operator, name) == getattr(trial.operator, name):
            continue
        try:
            keys.of(other)
        except (ConfigError, DataError):  # such as a column that is not there
            continue
        return other
    return None


def _values(trial: Trial, name: str) -> Iterator[Any]:
    """Values that the field might take, the likely ones first."""
    info = type(trial.operator).model_fields[name]
    now = getattr(trial.operator, name)
    yield from (example[name] for example in trial.spec.cls().examples if name in example)
    yield from _like(now)
    for member in alternatives(info.annotation):
        if get_origin(member) is Literal:
            yield from get_args(member)
        elif member in (int, float, str, bool):
            yield from _like(member())
    yield None


def _like(value: Any) -> Iterator[Any]:
    """Other values of the same type."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value * 2, value // 2, value - 1, value + 4, 1, 2, 64)
        case float():
            yield from (value / 2, value + 1, (value + 1) / 2, 0.25, 0.5)
        case str():
            yield from (*corpus(1).column_names, "key", f"{value}x")
        case tuple() | list():
            yield from (
                [*value[:at], other, *value[at + 1 :]] for at, v in enumerate(value) for other in _like(v)
            )
            yield [*value, *value]
            yield from ([v] for v in value)
        case dict():
            yield from ({**value, key: other} for key, v in value.items() for other in _like(v))


def _files(keys: Keys, trial: Trial, key: str, name: str) -> Trial | None:
    """For a field that names a file or folder: the same content under another name keeps the key; the
    trial with other content."""
    info = type(trial.operator).model_fields[name]
    value = trial.fields.get(name)
    path = trial.base / str(value)
    if not any(isinstance(mark, UserFile) for mark in info.metadata) or not path.exists():
        return None
    same = _copy(path, keys.bench.folder / "same" / trial.name / name)
    if not trial.inner() and keys.of(replace(trial, fields={**trial.fields, name: str(same)})) != key:
        raise BrokenLaw(f"the file or folder of {name} gives another key under another name")
    changed = _copy(path, keys.bench.folder / "changed" / trial.name / name)
    target = next(p for p in sorted(changed.rglob("*")) if p.is_file()) if changed.is_dir() else changed
    target.write_bytes(target.read_bytes() + _more(target))
    return replace(trial, fields={**trial.fields, name: str(changed)})


def _more(path: Path) -> bytes:
    """What can stand at the end of such a file: its first line again, or a blank line."""
    return path.read_bytes().split(b"\n")[0] + b"\n" if path.suffix == ".jsonl" else b"\n"


def _copy(path: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    to = folder / f"other{path.suffix}"
    return Path(shutil.copytree(path, to) if path.is_dir() else shutil.copy(path, to))
