"""What a training comparison is judged by: the held-out loss, and the accuracy of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """name: what it is. unit: as it stands after a difference. higher: whether more is better."""

    name: str
    unit: str
    higher: bool = False


LOSS = Measure("loss", "nats per byte")
ROW_LOSS = Measure("loss", "nats per document")
ACCURACY = Measure("accuracy", "in accuracy", higher=True)


MEMORISED = Measure("share of passages known by heart", "of the passages")


def views(train: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A comparison once for each measure, the one to judge by first: as it is, with its `measure`; for
    classifiers, before it, with accuracies where the losses stand; where passages were probed, after it, with
    the shares of them that the models know by heart."""
    finals = [arm.get("final") or {} for arm in (train.get("arms") or {}).values()]
    if any("accuracy" in final for final in finals):
        return [_view(train, "accuracy", ACCURACY), {**train, "measure": ROW_LOSS}]
    loss = {**train, "measure": LOSS}
    if any("memorised" in final for final in finals):
        return [loss, _view(train, "memorised", MEMORISED)]
    return [loss]


def measure_of(view: Mapping[str, Any]) -> Measure:
    """The measure of a view; the loss of a comparison that is none."""
    found: Measure = view.get("measure", LOSS)
    return found


def spent(train: Mapping[str, Any]) -> str:
    """What the arms have equally much of: tokens, examples or epochs."""
    config = train.get("config") or {}
    return next((name for name in ("examples", "epochs") if config.get(name) is not None), "tokens")


def axis(train: Mapping[str, Any]) -> str:
    """What the points of the curves count: vectors have no tokens."""
    return "examples" if (train.get("config") or {}).get("features") else "tokens"


def _view(train: Mapping[str, Any], what: str, measure: Measure) -> dict[str, Any]:
    """The comparison with what its points hold as `what` where the losses stand."""
    arms = {name: _arm(arm, what) for name, arm in train["arms"].items()}
    baseline = (train.get("baseline") or {}).get(what)
    paired = train.get(f"paired_{what}") or {}
    return {**train, "measure": measure, "arms": arms, "baseline": baseline, "paired": paired}


def _arm(arm: Mapping[str, Any], what: str) -> dict[str, Any]:
    points = [{"tokens": point["tokens"], **point[what]} for point in arm.get("curve") or [] if what in point]
    return {**arm, "curve": points, "final": (arm.get("final") or {}).get(what)}
