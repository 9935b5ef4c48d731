"""Books are the same in whichever order their shards come."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from pipeline.books import add_up


def told(total: float, least: float) -> dict[str, Any]:
    score = {"count": 1, "nulls": 0, "infinite": 0, "min": least, "max": least, "sum": total}
    return {"nodes": {}, "scores": {"loss": score}, "groups": {"in": {}, "out": {}}, "kept": 1}


@pytest.mark.parametrize("sums", [[0.1, 1e16, -1e16, 0.2], [1e308, 1e308, -1e308]])
def test_sums_of_scores_do_not_depend_on_the_order(sums: list[float]) -> None:
    shards = [told(total, number) for number, total in enumerate(sums)]
    found = {float(add_up(some)["scores"]["loss"]["sum"]) for some in permutations(shards)}
    assert len(found) == 1


def test_an_infinite_sum_stays_infinite() -> None:
    shards = [told(float("inf"), 0), told(1.0, 1)]
    assert {json.dumps(add_up(some)["scores"]["loss"]["sum"]) for some in permutations(shards)} == {
        "Infinity"
    }
