"""The words about training claim what the paired differences support, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ops.trainer import summary
from pipeline.curves import panels
from pipeline.measures import measure_of, views
from pipeline.verdict import DIFFERENCE, ERROR, judge, verdict


def compared(arms: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """A comparison by the trainer's own summary: arm -> domain -> final losses, one for every seed."""
    results = {}
    for arm, domains in arms.items():
        seeds = range(len(next(iter(domains.values()))))
        ends = [{d: losses[i] for d, losses in domains.items()} for i in seeds]
        curves = [[{"domains": e, "macro": sum(e.values()) / len(e), "all": max(e.values())}] for e in ends]
        results[arm] = [{"curve": curve} for curve in curves]
    return {"arms": {arm: {} for arm in arms}, "paired": summary.paired(results)}  # type: ignore[arg-type]


RANDOM = {"python": [2.0, 2.1, 2.0], "rust": [1.0, 1.1, 1.05]}


def moved(python: list[float], rust: list[float]) -> dict[str, list[float]]:
    return {
        "python": [a + b for a, b in zip(RANDOM["python"], python, strict=True)],
        "rust": [a + b for a, b in zip(RANDOM["rust"], rust, strict=True)],
    }


def test_a_gain_and_where_it_costs() -> None:
    arms = {"random": RANDOM, "order": moved([-0.50, -0.52, -0.48], [0.10, 0.11, 0.09])}
    assert verdict(compared(arms)) == [
        "At equal tokens, order beats random by 0.200\xa0±\xa00.003 nats per byte on the mean over 2 domains "
        "(3 seeds): better on 1 of 2 (python −0.500\xa0±\xa00.012), "
        "worse on 1 of 2 (rust +0.100\xa0±\xa00.006)."
    ]


def test_another_price_is_told() -> None:
    arms = {"random": RANDOM, "order": moved([-0.50, -0.52, -0.48], [0.10, 0.11, 0.09])}
    train = compared(arms)
    train["arms"] = {"random": {"flops": 3e9}, "order": {"flops": 4.5e9}}
    assert verdict(train)[0].endswith("±\xa00.006). It took 1.50 times the computation.")
    train["arms"]["order"]["flops"] = 3.01e9
    assert "computation" not in verdict(train)[0]


def test_random_wins() -> None:
    arms = {"random": RANDOM, "order": moved([0.30, 0.32, 0.28], [0.10, 0.11, 0.09])}
    said = verdict(compared(arms))[0]
    assert "order loses to random by 0.200" in said
    assert "worse on 2 of 2 (most on python +0.300" in said
    assert "better" not in said


def test_noise_is_called_noise() -> None:
    arms = {"random": RANDOM, "order": moved([-0.50, 0.52, 0.1], [0.10, -0.2, 0.02])}
    said = verdict(compared(arms))[0]
    assert "order is within noise of random, +0.007" in said
    assert said.endswith(": within noise on 2 of 2.")


def test_one_seed_is_not_judged() -> None:
    arms = {"random": {"python": [2.0], "rust": [1.0]}, "order": {"python": [1.0], "rust": [1.0]}}
    (said,) = verdict(compared(arms))
    assert "−0.500 nats per byte on the mean over 2 domains (1 seed) from random, with too few seeds" in said
    assert "beats" not in said


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ([-0.01, 0.01, 0.002], "ties with random on the mean and on all 2 domains, as it must."),
        ([-0.30, -0.31, -0.30], "differs from random on 1 of 2 domains and on the mean: it must tie"),
    ],
)
def test_the_placebo_is_held_against_random(python: list[float], said: str) -> None:
    arms = {"random": RANDOM, "order": RANDOM, "placebo": moved(python, [0.01, -0.01, 0.0])}
    sentences = verdict(compared(arms))
    assert len(sentences) == 2
    assert sentences[1].startswith("The placebo")
    assert said in sentences[1]


def test_a_single_domain_needs_no_mean() -> None:
    arms = {"random": {"python": [2.0, 2.1]}, "order": {"python": [1.5, 1.61]}}
    assert verdict(compared(arms)) == [
        "At equal tokens, order beats random by 0.495\xa0±\xa00.005 nats per byte (2 seeds)."
    ]


def test_nothing_to_compare() -> None:
    assert verdict(None) == []
    assert verdict({"arms": {}}) == []
    assert "says nothing about the selection" in verdict(compared({"order": RANDOM}))[0]


@given(difference=st.floats(-9, 9), error=st.floats(0, 9))
def test_judgement_is_symmetric_and_needs_two_errors(difference: float, error: float) -> None:
    here, there = ({DIFFERENCE: d, ERROR: error} for d in (difference, -difference))
    mirror = {"better": "worse", "worse": "better", "tie": "tie"}
    assert judge(there) == mirror[judge(here)]
    assert (judge(here) == "tie") == (abs(difference) <= 2 * error)


@pytest.mark.parametrize("cell", [{}, {DIFFERENCE: 1.0}, {DIFFERENCE: 1.0, ERROR: float("nan")}])
def test_without_an_error_there_is_no_judgement(cell: dict[str, float]) -> None:
    assert judge(cell) == "unknown"


def test_classifiers_are_judged_by_accuracy_where_more_is_better() -> None:
    def arm(loss: float, right: float) -> dict[str, Any]:
        point = {"tokens": 1, "domains": {"python": {"mean": loss}}}
        point["accuracy"] = {"domains": {"python": {"mean": right}}}
        return {"curve": [point], "final": point}

    higher = {DIFFERENCE: 0.2, ERROR: 0.01, "n": 2, "higher is better": True}
    train = {
        "arms": {"random": arm(0.5, 0.6), "order": arm(0.7, 0.8)},
        "paired": {"order": {"python": {DIFFERENCE: 0.2, ERROR: 0.01, "n": 2}}},
        "paired_accuracy": {"order": {"python": higher}},
        "config": {"examples": 9},
    }
    assert verdict(train) == [
        "At equal examples, order beats random by 0.200\xa0±\xa00.010 in accuracy (2 seeds)."
    ]
    assert judge({**higher, DIFFERENCE: -0.2}) == "worse"
    first, second = views(train)
    assert (measure_of(first).name, measure_of(second).unit) == ("accuracy", "nats per document")
    assert judge(second["paired"]["order"]["python"]) == "worse"
    for view, best in ((first, "order"), (second, "random")):
        (panel,) = panels(view)
        assert panel.stops[-1].values[0][0].name == best


def test_what_is_known_by_heart_comes_after_the_loss_and_less_is_better() -> None:
    share = {"domains": {"python": {"mean": 0.5}}}
    point = {"tokens": 1, "domains": {"python": {"mean": 2.0}}, "memorised": share}
    arm = {"curve": [point], "final": point}
    cell = {DIFFERENCE: -0.4, ERROR: 0.001, "n": 2}
    train = {
        "arms": {"random": arm, "order": arm},
        "paired": {"order": {"python": {**cell, DIFFERENCE: 0.1}}},
        "paired_memorised": {"order": {"python": cell}},
    }
    loss, heart = views(train)
    assert [measure_of(view).name for view in (loss, heart)] == ["loss", "share of passages known by heart"]
    assert [judge(view["paired"]["order"]["python"]) for view in (loss, heart)] == ["worse", "better"]
    assert panels(heart)[0].stops[-1].values[0][2] == "0.500"
    assert "loses to random by 0.100" in verdict(train)[0]
