"""The pieces of the report: numbers as text, ticks, histograms, the funnel's rails, marked words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import units
from pipeline.charts import histogram
from pipeline.compare_text import differing_words
from pipeline.funnel import Step, funnel


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (units.count(85005), "85,005"),
        (units.count(None), "–"),
        (units.rows(99_999_999), "99,999,999"),
        (units.rows(10_432_111_002), "10.4 B"),
        (units.short(999), "999"),
        (units.short(999_499), "999 k"),
        (units.short(999_500), "1.00 M"),
        (units.short(-1234), "−1.23 k"),
        (units.short(float("inf")), "∞"),
        (units.nbytes(4_810_000), "4.81 MB"),
        (units.nbytes(0), "0 B"),
        (units.seconds(0.424), "0.42 s"),
        (units.seconds(99.6), "1 min 40 s"),
        (units.seconds(7_500), "2 h 05 min"),
        (units.percent(1, 3), "33.3 %"),
        (units.percent(99_999, 100_000), "> 99.9 %"),
        (units.percent(1, 100_000), "< 0.1 %"),
        (units.percent(0, 0), "–"),
        (units.signed(-0.31), "−0.310"),
        (units.signed(-0.0001), "0.000"),
        (units.number(1234567.0), "1.23e+06"),
        (units.number(float("nan")), "–"),
    ],
)
def test_numbers_as_people_read_them(said: str, expected: str) -> None:
    assert said == expected


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), wanted=st.integers(2, 8))
def test_ticks_are_round_inside_and_told_apart(low: float, span: float, wanted: int) -> None:
    ticks = units.steps(low, low + span, wanted)
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= t <= low + span + slack for t in ticks)
    assert 1 <= len(ticks) <= 2 * wanted + 2
    assert np.allclose(np.diff(ticks), np.diff(ticks)[:1], rtol=1e-3, atol=slack)


@given(first=st.integers(-40, 40), power=st.integers(-3, 3), mantissa=st.sampled_from([1, 2, 5]))
def test_tick_labels_differ(first: int, power: int, mantissa: int) -> None:
    ticks = [(first + i) * mantissa * 10.0**power for i in range(5)]
    labels = units.tick_labels(ticks)
    assert len(set(labels)) == 5


def score(values: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    counts, edges = np.histogram(values, 64)
    return {
        "column": "loss.loss", "node": "loss", "count": len(values), "nulls": 0, "min": values.min(),
        "max": values.max(), "mean": values.mean(), "edges": edges.tolist(), "counts": counts.tolist(),
        "kept": np.histogram(kept, edges)[0].tolist(),
    }  # fmt: skip


def test_heights_of_a_histogram_are_the_counts() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    given_score = score(values, values[values > 0])
    drawn = histogram(given_score, height=100)
    assert not drawn.root
    assert np.allclose(
        [b.all for b in drawn.bins], 100 * np.array(given_score["counts"]) / max(given_score["counts"])
    )
    assert all(b.kept <= b.all for b in drawn.bins)
    assert [t.label for t in drawn.x_ticks if t.label == "0"] == ["0"]
    zero = next(t.at for t in drawn.x_ticks if t.label == "0")
    assert zero == pytest.approx(drawn.width * (0 - values.min()) / (values.max() - values.min()))


def test_a_long_tail_gets_square_root_heights_and_says_so() -> None:
    values = np.exp(np.random.default_rng(0).normal(5, 1.5, 5000))
    given_score = score(values, values[:50])
    drawn = histogram(given_score, height=100)
    assert drawn.root
    expected = 100 * np.sqrt(np.array(given_score["counts"]) / max(given_score["counts"]))
    assert np.allclose([b.all for b in drawn.bins], expected)


def test_a_single_value_is_said_not_drawn() -> None:
    drawn = histogram(score(np.full(9, 7.0), np.full(3, 7.0)))
    assert drawn.bins == []
    assert "9 rows with a value; all 7" in drawn.summary


def test_infinite_values_are_told_apart_where_they_are_counted() -> None:
    one = score(np.arange(9.0), np.arange(3.0)) | {"nulls": 4, "infinite": 2}
    assert histogram(one).summary.endswith("4 null; 2 infinite or NaN")


def steps_of(*nodes: tuple[str, list[str]], **more: Any) -> tuple[dict[str, Step], int]:
    data = [
        {"name": n, "op": n, "inputs": i, "face": "/" not in n, "rows_in": 10, "rows_out": 8}
        for n, i in nodes
    ]
    steps, lanes = funnel({"nodes": data, "source": {"rows": 10}, **more})
    return {s.name: s for s in steps}, lanes


def test_a_chain_stays_in_one_lane() -> None:
    steps, lanes = steps_of(("a", [""]), ("b", ["a"]), exports=[{"path": "x/out", "rows": 8, "node": "b"}])
    assert lanes == 1
    assert [s.kind for s in steps.values()] == ["source", "node", "node", "export"]
    assert [len(s.above) for s in steps.values()] == [0, 1, 1, 1]
    assert [s.leaving for s in steps.values()] == [True, True, True, False]


def test_branches_part_and_meet() -> None:
    steps, lanes = steps_of(("a", [""]), ("left", ["a"]), ("right", ["a"]), ("join", ["left", "right"]))
    assert lanes == 2
    assert {steps["left"].lane, steps["right"].lane} == {0, 1}
    assert {e.lane for e in steps["join"].above} == {0, 1}
    assert steps["a"].lane in steps["left"].passing


def test_parts_are_folded_into_their_recipe() -> None:
    steps, _ = steps_of(("size/x", []), ("a", [""]), ("r/one", ["a"]), ("r/two", ["r/one"]), ("r", ["r/two"]))
    assert steps["r"].inputs == ("a",)
    assert [p["name"] for p in steps["r"].parts] == ["r/one", "r/two"]
    assert [p["name"] for p in steps[""].parts] == ["size/x"]


@given(st.data())
def test_rails_join_what_the_config_joins(data: st.DataObject) -> None:
    """Walking down the rails from any step, by lanes alone, one meets exactly its consumers."""
    nodes = [("n0", [""])]
    for i in range(1, data.draw(st.integers(2, 12))):
        above = data.draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3, unique=True))
        nodes.append((f"n{i}", [f"n{a}" for a in above]))
    steps, lanes = steps_of(*nodes)
    running: dict[int, str] = {}
    for name, inputs in (("", []), *nodes):
        step = steps[name]
        assert sorted(running[e.lane] for e in step.above) == sorted(inputs)
        running = {lane: producer for lane, producer in running.items() if lane in step.passing}
        assert step.lane not in running
        assert step.lane < lanes
        if step.leaving:
            running[step.lane] = name
    assert running == {}


def test_bars_add_up_to_the_rows_that_came() -> None:
    book = {"rows_in": 100, "rows_out": 60, "dropped": {"a": 30, "b": 7}, "quarantined": 3}
    steps, _ = funnel(
        {"source": {"rows": 200}, "nodes": [{"name": "n", "inputs": [""], "face": True} | book]}
    )
    assert [s.label for s in steps[1].rows_bar] == ["kept", "a", "b", "quarantined"]
    assert sum(s.width for s in steps[1].rows_bar) == pytest.approx(50)


@settings(max_examples=60, deadline=None)
@given(a=st.text("ab 日\n.", max_size=60), b=st.text("ab 日\n.", max_size=60))
def test_pieces_are_the_text_and_unmarked_ones_agree(a: str, b: str) -> None:
    left, right = differing_words(a, b)
    assert ("".join(t for t, _ in left), "".join(t for t, _ in right)) == (a, b)
    same = ["".join("".join(t for t, differs in side if not differs).split()) for side in (left, right)]
    marked = any(differs for _, differs in left + right)
    assert same[0] == same[1] or not marked
