"""ESS and tau equal their definitions in numpy, to the same bytes for any cut, over any range of weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World

from operators.contract import Artifact
from operators.effective_size import EffectiveSize

SCORES = st.lists(st.none() | st.floats(-700, 700) | st.just(math.nan) | st.just(math.inf), max_size=30)


def sized(scores: Any, groups: Any = None, cut: list[int] | None = None, **fields: Any) -> Artifact:
    columns = {"s": pa.array(scores, pa.float64())}
    if groups is not None:
        columns["g"], fields["group"] = pa.array(groups, pa.string()), "g"
    world = World(pa.table(columns), 1000, cut)
    world.execute("size", EffectiveSize(score="s", **fields), {})
    return world.artifacts["size"]


def by_numpy(log_weights: np.ndarray) -> tuple[float, float, float]:
    """ESS, tau as Katharopoulos & Fleuret define it, and the largest share."""
    g = np.exp(log_weights - log_weights.max())
    g /= g.sum()
    u = 1 / len(g)
    return 1 / (g**2).sum(), (1 - ((g - u) ** 2).sum() / (g**2).sum()) ** -0.5, g.max()


@settings(deadline=None, max_examples=40)
@given(SCORES, st.sampled_from([0.5, 1.0, 3.0]))
def test_equals_numpy(scores: list[float | None], temperature: float) -> None:
    got = sized(scores, temperature=temperature)
    known = np.array([s for s in scores if s is not None and math.isfinite(s)])
    if not len(known):
        assert got["ess"].sum() == 0
        return
    ess, tau, largest = by_numpy(known / temperature)
    assert got["rows"].tolist() == [len(known)]
    assert got["ess"][0] == pytest.approx(ess, rel=1e-7)
    assert got["tau"][0] == pytest.approx(tau, rel=1e-6)
    assert got["tau"][0] == pytest.approx(math.sqrt(len(known) / got["ess"][0]), rel=1e-12)
    assert got["largest"][0] == pytest.approx(largest, rel=1e-7)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(), st.sampled_from(["a", "b", None])), max_size=30),
    st.sets(st.integers(0, 30)),
)
def test_the_same_bytes_for_any_cut(rows: list[Any], cut: set[int]) -> None:
    scores, groups = [s for s, _ in rows], [g for _, g in rows]
    whole, pieces = sized(scores, groups), sized(scores, groups, sorted(b for b in cut if b <= len(rows)))
    assert {k: v.tobytes() for k, v in whole.items()} == {k: v.tobytes() for k, v in pieces.items()}


def test_each_group_is_sized_by_itself() -> None:
    got = sized([0.0, 0.0, 5.0, 0.0, 0.0], ["a", "a", "b", "b", "b"])
    alone = sized([5.0, 0.0, 0.0])
    assert got["ess"][0] == pytest.approx(2, rel=1e-12)
    assert got["ess"][1] == alone["ess"][0]


def test_weights_and_their_inverses() -> None:
    weights = np.array([1.0, 2.0, 4.0, 0.0, 3.0])
    got, inverse = (
        sized(weights, score_is="weight"),
        sized(weights[weights > 0], score_is="weight", descending=False),
    )
    assert got["rows"].tolist() == [4]
    assert got["ess"][0] == pytest.approx(100 / 30)
    assert inverse["ess"][0] == pytest.approx(sized(-np.log(weights[weights > 0]))["ess"][0])


@pytest.mark.parametrize("scores", [[1e300, -1e300, 0.0], [1e300] * 3, [-1e308, -1e308]])
def test_no_range_is_too_wide(scores: list[float]) -> None:
    got = sized(scores)
    assert 1 <= got["ess"][0] <= 3
    assert np.isfinite(got["tau"]).all()


@pytest.mark.parametrize(
    ("scores", "fields", "told"),
    [
        (
            [0.0] * 2000,
            {},
            "ESS 2,000 of 2,000 rows, tau 1, the largest weight has 0.05% of all: sampling is nearly",
        ),
        ([9.0] + [0.0] * 99, {}, "a sample of more rows is nearly the top k"),
        ([1.0, 0.0, 0.5], {}, "sampling is weighted"),
        ([1.0, 0.0, 0.5], {"min_tau": 2}, "tau is below min_tau = 2, rows are drawn uniformly"),
        ([9.0] + [0.0] * 99, {"min_tau": 2}, "nearly the top k"),
        ([None], {}, "ESS 0 of 0 rows with a weight: there is nothing to sample"),
        ([], {}, "ESS 0 of 0 rows: there is nothing to sample"),
        ([0.0], {"beware": True}, "wrong labels"),
    ],
)
def test_what_it_tells(scores: list[float], fields: dict[str, Any], told: str) -> None:
    assert told in EffectiveSize(score="s", **fields).tell(sized(scores, **fields))


def test_groups_are_told_from_the_worst() -> None:
    groups = list("aaabbbcccdddee")
    scores = [0.0, 0, 1, 0, 0, 9, 0, 0, 0, 0, 0, 3, 1, 1]
    lines = EffectiveSize(score="s", group="g").tell(sized(scores, groups)).splitlines()
    assert [line[:6] for line in lines] == ["g 'b':", "g 'd':", "g 'a':", "and 2 "]
