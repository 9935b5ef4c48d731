"""rocchio against the formula in plain numpy, what judgements gain on planted kinds, and hostile rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run
from pydantic import ValidationError
from sklearn.preprocessing import normalize

from gpu_ops.rocchio import Rocchio


def table(x: np.ndarray, judged: list[Any]) -> pa.Table:
    return pa.table({"embedding": pa.array(list(x), pa.list_(pa.float64())), "relevant": judged})


def formula(
    x: np.ndarray,
    judged: list[Any],
    q: np.ndarray | None = None,
    a: float = 1,
    b: float = 0.75,
    g: float = 0.15,
) -> np.ndarray:
    """Brute force, in floats."""
    unit, nothing = normalize(x), np.zeros(x.shape[1])
    yes = [row for row, value in zip(unit, judged, strict=True) if value is True]
    no = [row for row, value in zip(unit, judged, strict=True) if value is False]
    relevant, other = (np.mean(side, axis=0) if side else nothing for side in (yes, no))
    start = relevant if q is None else q / np.linalg.norm(q)
    moved = a * start + b * relevant - g * other
    return np.asarray(unit @ moved / np.linalg.norm(moved))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 40), st.booleans(), st.sampled_from([(1, 0.75, 0.15), (0, 1, 2)])
)
def test_equals_the_formula(seed: int, rows: int, asked: bool, weights: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)) * rng.uniform(0.1, 9, (rows, 1))
    judged = [True, *rng.choice([True, False, None], rows - 1).tolist()]
    query = rng.normal(size=6) if asked else None
    a, b, g = weights
    op = Rocchio(query=tuple(query) if query is not None else None, alpha=a, beta=b, gamma=g)
    found = run(op, table(x, judged), batch_rows=7)["relevance"].to_numpy()
    expected = formula(x, judged, query, a, b, g)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(run(op, table(x, judged))["relevance"].to_numpy(), found)


def test_judgements_find_more_of_a_kind_among_the_rows_not_judged() -> None:
    """A first query that is off by a common part; 20 judgements of its first rows; P@60 of the others."""
    before, after = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 10, 2000)
        centres = normalize(rng.normal(size=(10, 24)))
        x = centres[kind] + rng.normal(size=(2000, 24)) * 0.25
        query = tuple(centres[0] + 0.9 * centres[1] + 0.9 * centres[2] + rng.normal(size=24) * 0.1)
        first = run(Rocchio(query=query), table(x, [None] * 2000))["relevance"].to_numpy()
        looked = np.argsort(-first, kind="stable")[:20]
        judged: list[Any] = [None] * 2000
        for row in looked:
            judged[row] = bool(kind[row] == 0)
        second = run(Rocchio(query=query), table(x, judged))["relevance"].to_numpy()
        rest = np.setdiff1d(np.arange(2000), looked)
        for score, found in ((first, before), (second, after)):
            found.append((kind[rest[np.argsort(-score[rest], kind="stable")[:60]]] == 0).mean())
    assert np.mean(after) > np.mean(before) + 0.05
    assert min(np.subtract(after, before)) >= 0


def test_judgements_are_booleans_strings_or_integers() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    plain = run(Rocchio(), table(x, [True, False, None, None]))["relevance"]
    for judged, relevant in ((["yes", "no", None, None], "yes"), ([7, -7, None, None], 7)):
        assert run(Rocchio(relevant=relevant), table(x, judged))["relevance"].equals(plain)
    assert run(Rocchio(), table(x, ["true", "false", None, None]))["relevance"].equals(plain)


def test_rows_without_a_direction_have_no_say() -> None:
    lists: list[Any] = [[1, 0], [0, 1], None, [], [0, 0], [1, float("nan")], [float("inf"), 1], [1, None]]
    judged = [True, None] + [True, False] * 3
    data = pa.table({"embedding": pa.array(lists, pa.list_(pa.float32())), "relevant": judged})
    found = run(Rocchio(), data, batch_rows=1)["relevance"].to_pylist()
    assert found[:2] == pytest.approx([1, 0])
    assert found[2:] == [None] * 6


def test_without_a_relevant_row_there_is_a_query_or_nothing() -> None:
    x, judged = np.eye(3), pa.array([False, None, None], pa.bool_())
    data = table(x, judged)
    assert run(Rocchio(), data)["relevance"].null_count == 3
    found = run(Rocchio(query=(0, 2, 0)), data)["relevance"].to_numpy()
    np.testing.assert_allclose(found, np.array([-0.15, 1, 0]) / np.hypot(0.15, 1), atol=1e-4)
    assert run(Rocchio(alpha=0, beta=0, gamma=0, query=(1, 0, 0)), data)["relevance"].null_count == 3
    assert run(Rocchio(), data.slice(0, 0)).num_rows == 0
    world = World(data, 2, None)
    world.execute("face", Rocchio(), {})
    told = Rocchio().tell(world.artifacts["face"])
    assert told == "0 rows judged relevant, 1 not: no query, so nothing has a relevance"


def test_a_query_without_any_embedding_is_kept() -> None:
    data = pa.table({"embedding": pa.nulls(2, pa.list_(pa.float32())), "relevant": [True, None]})
    assert run(Rocchio(query=(1, 0)), data)["relevance"].null_count == 2


def test_embeddings_of_other_sizes_are_errors() -> None:
    two = pa.table({"embedding": pa.array([[1.0, 0], [1, 0, 0]]), "relevant": [True, None]})
    for rows in (1, 2):
        with pytest.raises(ValueError, match="uid 1"):
            run(Rocchio(), two, batch_rows=rows)
    with pytest.raises(ValueError, match="2 numbers at uid 0, but `query` 3"):
        run(Rocchio(query=(1, 0, 0)), two.slice(0, 1))


@pytest.mark.parametrize("query", [(), (0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_a_query_has_a_direction(query: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Rocchio(query=query)
