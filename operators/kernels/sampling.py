"""What the recipes share that draw a weighted sample up to a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from operators.contract import Part, Recipe

Count = Annotated[int, Field(ge=0)]
_BUDGETS = ("keep_rows", "keep_share", "keep_tokens")


def one_budget(op: Recipe) -> None:
    """ValueError unless one budget is given."""
    name = type(op).__module__.rpartition(".")[2]
    given = [budget for budget in _BUDGETS if getattr(op, budget) is not None]
    if len(given) != 1:
        raise ValueError(f"{name} takes one of {', '.join(_BUDGETS)}, got {', '.join(given) or 'none'}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The fields of a sampler that say how much stays."""

    keep_rows: int | dict[str | int, int] | None
    keep_share: float | None
    keep_tokens: int | dict[str | int, int] | None
    tokens: str
    group: str | None


def sampled(how: dict[str, Any], key: dict[str, Any], budget: Budget, **weight: Any) -> list[Part]:
    """The parts that draw a sample and weigh it. how: the fields that `importance_key` shares with
    `importance_weight`; key, weight: the fields of one of them alone."""
    weighted = budget.keep_tokens is not None
    group = {"group": budget.group}
    cut = {
        "by": "/key.priority",
        "keep_rows": budget.keep_rows,
        "keep_share": budget.keep_share,
        "keep_weight": budget.keep_tokens,
        "weight": budget.tokens if weighted else None,
        "missing": "count",
        "mark": True,
    }
    uses = {"threshold": "threshold"}
    return [
        Part("key", "importance_key", {**how, **key}),
        Part("cut", "cut", {**cut, **group}),
        Part("threshold", "importance_threshold", group),
        Part("weight", "importance_weight", {**how, **group, **weight}, uses),
    ]
