"""Summaries by group are brought to common names without losing or moving a value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from operators.kernels.grouping import GroupKey, group_codes, group_name, spread, together


def test_groups_that_are_new_get_the_neutral_value() -> None:
    state = {"names": np.array([b"a.", b"c."]), "n": np.array([1, 2]), "best": np.array([[0.5], [1.5]])}
    names = together(state["names"], np.array([b"", b"b.", b"c."]))
    assert names.tolist() == [b"", b"a.", b"b.", b"c."]
    got = spread(state, names, {"best": -np.inf})
    assert got["n"].tolist() == [0, 1, 0, 2]
    assert got["best"][:, 0].tolist() == [-np.inf, 0.5, -np.inf, 1.5]
    same = spread(state, state["names"])
    assert all(same[key] is state[key] for key in state)


def test_too_many_groups_are_refused() -> None:
    many = np.array([b"%05d." % i for i in range(4097)])
    with pytest.raises(ValueError, match=r"more than 4,096 groups"):
        together(many[:2500], many[2400:])


def test_the_booleans_of_yaml_name_the_groups_of_boolean_columns() -> None:
    keys = TypeAdapter(dict[GroupKey, int])
    assert keys.validate_python({False: 3, True: 0, 7: 2, "a": 4}) == {"false": 3, "true": 0, 7: 2, "a": 4}
    names, _ = group_codes(pa.array([True, False]), 2)
    assert names.tolist() == [group_name("false"), group_name("true")]
