"""The keep-curve equals the same figures computed from whole rows, for any scores and any cut."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, find, run
from scipy import stats

from operators.contract import Artifact
from operators.keep_bands import KeepBands
from operators.keep_curve import KeepCurve
from operators.kernels.ngrams import reference_buckets
from operators.score_span import ScoreSpan

SCORES = st.lists(
    st.none() | st.floats(-50, 50) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300]),
    max_size=30,
)
SHARES = (0.1, 0.25, 0.5)


def curve(op: KeepCurve, table: pa.Table, size: int, target: list[str] | None = None) -> Artifact:
    """The artifact of the last part, as an engine makes it; the target's texts in place of its file."""
    world = World(table, size, None)
    for part in op.parts():
        where = world
        if part.source:
            where = World(pa.table({"text": pa.array(target or [], pa.large_string())}), 2, None)
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    return world.artifacts["curve"]


@settings(deadline=None, max_examples=60)
@given(SCORES, st.booleans(), st.sampled_from([0.5, 1.0, 7.0]), st.integers(1, 9))
def test_rows_means_and_sample_sizes(
    scores: list[float | None], descending: bool, temperature: float, size: int
) -> None:
    truth = [i % 3 == 0 for i in range(len(scores))]
    table = pa.table({"s": pa.array(scores, pa.float64()), "hit": pa.array(truth, pa.bool_())})
    op = KeepCurve(score="s", shares=SHARES, descending=descending, temperature=temperature, truth="hit")
    got = curve(op, table, size)
    finite = [(s, i) for i, s in enumerate(scores) if s is not None and math.isfinite(s)]
    best = sorted(finite, key=lambda x: (-x[0] if descending else x[0], x[1]))
    span = max((s for s, _ in finite), default=0) - min((s for s, _ in finite), default=0)
    for at, share in enumerate((*SHARES, 1)):
        kept = best[: int(share * len(best) + 1e-9)]
        assert got["rows"][at] == len(kept)
        if not kept:
            assert np.isnan(got["mean"][at])
            continue
        values = np.array([s for s, _ in kept])
        assert got["mean"][at] == pytest.approx(values.mean(), rel=1e-6, abs=1e-9 + span * 1e-9)
        relative = values - values[0] if descending else values[0] - values
        w = np.exp(relative / temperature)
        assert got["ess"][at] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-6)
        assert got["precision"][at] == pytest.approx(np.mean([truth[i] for _, i in kept]))


def test_divergence_is_that_of_the_kept_texts() -> None:
    texts = ["a b c", "a a", "x y z", "q", "a b", "", "b c a", "z"]
    table = pa.table({"text": pa.array(texts, pa.large_string()), "s": np.arange(8.0)[::-1].copy()})
    op = KeepCurve(score="s", shares=(0.5,), target="t.jsonl", buckets=17, smoothing=0.5)
    got = curve(op, table, 3, ["a b", "b c"])

    def smoothed(some: list[str]) -> np.ndarray:
        found = [b for t in some for b in reference_buckets(t.encode(), (1, 2), 17)]
        return np.bincount(np.array(found, np.int64), minlength=17) + 0.5

    target = smoothed(["a b", "b c"])
    expected = [stats.entropy(target, smoothed(texts[:4])), stats.entropy(target, smoothed(texts))]
    assert got["kl"] == pytest.approx(expected)


def test_what_it_tells() -> None:
    table = pa.table({"s": [3.0, 3.0, 1.0, None], "hit": [True, False, None, True]})
    op = KeepCurve(score="s", shares=(0.1, 0.7), truth="hit")
    state = curve(op, table, 2)
    last = op.parts()[-1]
    lines = KeepBands(**last.fields).tell(state).splitlines()
    assert lines == [
        "0 rows",
        "the best 66.7 %, 2 rows: s 3 on average, ESS 2.0, precision 0.500",
        "all 3 rows: s 2.333 on average, ESS 2.3, precision 0.333",
    ]
    nothing = curve(op, table.slice(3), 2)
    assert KeepBands(**last.fields).tell(nothing) == "no row has a finite s"


def test_a_target_without_text_is_refused() -> None:
    table = pa.table({"text": pa.array(["a"], pa.large_string()), "s": [1.0]})
    with pytest.raises(ValueError, match="the target has no text"):
        curve(KeepCurve(score="s", target="t.jsonl"), table, 3, [""])


def test_shares_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend without repeats"):
        KeepCurve(shares=(0.5, 0.1))
    with pytest.raises(ValueError, match="less than 1"):
        KeepCurve(shares=(0.5, 1.0))


def test_the_span_of_finite_values() -> None:
    table = pa.table({"s": pa.array([None, math.nan, math.inf, -math.inf, -0.0, 5.0])})
    world = World(table, 2, None)
    world.execute("span", ScoreSpan(column="s"), {})
    assert (world.artifacts["span"]["least"][0], world.artifacts["span"]["most"][0]) == (0.0, 5.0)
    assert not run(ScoreSpan(column="s"), table).column_names
