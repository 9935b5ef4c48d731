"""The part of `train:` that belongs to the trainer, checked against the trainer's own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError
from pipeline.fields import Problem, known_fields, problems_of, whole_counts
from pipeline.suggest import did_you_mean


def train_config() -> type[BaseModel]:
    """The trainer's settings; ConfigError when its packages are not installed."""
    try:
        module = import_module("gpu_ops.trainer.config")
    except ModuleNotFoundError as error:
        text = f"train needs the package {error.name!r}, which is not installed; pip install 'tamis[train]'"
        raise ConfigError(text) from error
    return cast("type[BaseModel]", module.TrainConfig)


def check_trainer(fields: Mapping[str, Any], own: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The fields with counts read, and what is wrong with them. What a run fills in may be missing.

    own: the section's other keys, for the suggestion when a key is unknown."""
    try:
        model = train_config()
    except ConfigError as error:
        return dict(fields), [Problem((), str(error))]
    values = whole_counts(model, fields)
    try:
        model.model_validate(values)
    except ValidationError as error:
        missing = {detail["loc"] for detail in error.errors() if detail["type"] == "missing"}
        found = [problem for problem in problems_of(error, model, "train") if problem.where not in missing]
        return values, [_with_own_keys(problem, model, fields, own) for problem in found]
    return values, []


def _with_own_keys(
    problem: Problem, model: type[BaseModel], fields: Mapping[str, Any], own: Sequence[str]
) -> Problem:
    key = problem.where[0] if problem.where else None
    if key not in fields or key in known_fields(model):
        return problem
    return Problem(
        problem.where, f"train has no key {key!r}{did_you_mean(str(key), [*own, *known_fields(model)])}"
    )
