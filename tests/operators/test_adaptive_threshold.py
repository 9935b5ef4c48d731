"""adaptive_threshold by hand, against the formula row by row, and its summaries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import World, run, run_shape

from operators.adaptive_threshold import AdaptiveThreshold

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]), st.one_of(st.none(), st.floats(0, 1), st.just(float("nan")))
    ),
    max_size=40,
)


def table_of(rows: list[tuple[str | None, float | None]]) -> pa.Table:
    names, values = [one for one, _ in rows], [one for _, one in rows]
    return pa.table({"predicted": pa.array(names, pa.string()), "confidence": pa.array(values, pa.float64())})


def test_by_hand() -> None:
    """Four rows of `a` and two of `b` are sure, three rows are not: effects 1 and 1/2, M = 1 and 1/3."""
    rows = [("a", 0.99)] * 4 + [("b", 0.96)] * 2 + [("b", 0.4), ("b", 0.2), ("c", 0.3)]
    found = run(AdaptiveThreshold(threshold=0.9), table_of(rows))
    assert found["class_threshold"].to_pylist() == pytest.approx([0.9] * 4 + [0.3] * 4 + [0])
    assert found["drop"].to_pylist() == [None] * 7 + ["not_confident", None]
    unsure = [*rows, *[("c", 0.5)] * 5]  # eight are unsure now: effects 1/2 and 1/4, M = 1/3 and 1/7
    warm = run(AdaptiveThreshold(threshold=0.9, mark=True), table_of(unsure))
    assert warm.column_names == ["class_threshold"]
    assert warm["class_threshold"][0].as_py() == pytest.approx(0.3)
    assert warm["class_threshold"][5].as_py() == pytest.approx(0.9 / 7)
    cold = run(AdaptiveThreshold(threshold=0.9, warm_up=False, least=0.35), table_of(unsure))
    assert cold["class_threshold"].to_pylist()[3:9] == pytest.approx([0.9] + [0.35] * 5)


@given(ROWS, st.booleans(), st.lists(st.integers(0, 40), max_size=3).map(sorted))
def test_every_row_against_the_formula(
    rows: list[tuple[str | None, float | None]], warm: bool, cut: list[int]
) -> None:
    op = AdaptiveThreshold(threshold=0.6, warm_up=warm)
    found = run(op, table_of(rows), cut=[one for one in cut if one <= len(rows)])
    good = [(name, v) for name, v in rows if name is not None and v is not None and v == v]
    sure = {name: sum(v > 0.6 for other, v in good if other == name) for name in "abc"}
    unsure = sum(v <= 0.6 for _, v in good)
    most = max(*sure.values(), unsure if warm else 0, 1)
    for (name, v), limit, drop in zip(
        rows, *(column.to_pylist() for column in (found["class_threshold"], found["drop"])), strict=True
    ):
        if name is None or v is None or v != v:
            assert (limit, drop) == (None, "no_score")
            continue
        effect = sure[name] / most
        assert limit == pytest.approx(0.6 * effect / (2 - effect))
        assert drop == (None if v > limit else "not_confident")


def test_it_tells_the_ends() -> None:
    rng = np.random.default_rng(0)
    rows = [(f"class {i}", float(v)) for i in range(6) for v in rng.uniform(i / 8, 1, 50)]
    op = AdaptiveThreshold(threshold=0.8, warm_up=False)
    world = World(table_of(rows), 1000, None)
    run_shape(world, "face", op, world.batches(op), {})
    told = op.tell(world.artifacts["face"])
    assert told.startswith("thresholds of 6 classes: ")
    assert told.count("sure") == 4
    empty = op.finish(op.fold(next(iter(table_of([("a", None)]).to_batches())), {}), {})
    assert op.tell(empty) == "no row has a score"
