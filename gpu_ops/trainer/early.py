"""Early stopping: which evaluation was best, and when enough of them brought nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpu_ops.trainer.config_parts import EarlyStop, Unfit

Curve = Sequence[dict[str, Any]]


def goodness(point: dict[str, Any], on: str) -> float:
    """More is better. ValueError for a measure or domain that the evaluations do not have."""
    if on == "accuracy" and "accuracy" in point:
        return float(point["accuracy"]["all"])
    if on in ("macro", "all"):
        return -float(point[on])
    if on not in point["domains"]:
        domains = list(point["domains"])
        raise Unfit(f"early_stop: on: {on!r} is none of all, macro and the domains {domains}")
    return -float(point["domains"][on])


def check(rule: EarlyStop | None, domains: Sequence[str], classifies: bool) -> None:
    """ValueError for a measure that the evaluations on these domains will not have."""
    if rule is not None:
        point: dict[str, Any] = {"domains": dict.fromkeys(domains, 0.0), "macro": 0.0, "all": 0.0}
        goodness(point | ({"accuracy": {"all": 0.0}} if classifies else {}), rule.on)


def best(curve: Curve, on: str) -> int:
    """The number of the best evaluation, the first of equals."""
    values = [goodness(point, on) for point in curve]
    return values.index(max(values))


def is_over(curve: Curve, rule: EarlyStop | None) -> bool:
    """Whether the last `patience` evaluations were all no better than the best before by more than `least`: a
    function of the curve alone, so a run that is resumed stops where it would have."""
    if rule is None or not curve:
        return False
    record, waited = goodness(curve[0], rule.on), 0
    for point in curve[1:]:
        value = goodness(point, rule.on)
        waited = 0 if value > record + rule.least else waited + 1
        record = max(record, value) if waited == 0 else record
    return waited >= rule.patience
