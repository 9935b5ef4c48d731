"""Formulas against Python's own `eval` over plain numbers, and every way in which one cannot be read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.formula import Formula
from operators.kernels.expressions import columns_of, evaluate

FINITE = st.floats(-100, 100)
ATOMS = st.sampled_from(["a", "b", "2", "0.5", "3e1"])
SCALAR = {
    "log1p": np.log1p, "exp": np.exp, "sqrt": np.sqrt, "abs": abs, "min": min, "max": max, "log": np.log,
    "where": lambda c, x, y: x if c else y,
}  # fmt: skip


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs, orders = st.sampled_from(["+", "-", "*", "/"]), st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    return (
        st.tuples(inner, signs, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | st.tuples(inner, orders, inner).map(lambda t: f"(({t[0]} {t[1]} {t[2]}) * 1)")
        | inner.map(lambda t: f"-{t}")
        | st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})")
        | st.tuples(inner, inner, inner).map(lambda t: f"where({t[0]} < {t[1]} < 9, {t[1]}, {t[2]})")
        | inner.map(lambda t: f"sqrt(abs({t}))")
    )


def value(expression: str, **columns: Any) -> list[float | None]:
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    return run(Formula(expression=expression), table, batch_rows=2).column("value").to_pylist()


@settings(deadline=None, max_examples=200)
@given(st.recursive(ATOMS, grown, max_leaves=8), st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=5))
def test_equals_python(expression: str, rows: list[tuple[float, float]]) -> None:
    expression = f"a * 0 + b * 0 + ({expression})"
    a, b = np.array(rows).T
    got = evaluate(expression, {"a": a, "b": b})
    with np.errstate(all="ignore"):
        for found, x, y in zip(got, a, b, strict=True):
            numbers = {"a": np.float64(x), "b": np.float64(y)}
            try:
                wanted = float(eval(expression, {**SCALAR, **numbers}))
            except ZeroDivisionError:  # of two plain numbers
                continue
            if not math.isnan(wanted):
                assert found == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("log(x)", [None, 0.0, -math.inf, None]),
        ("1 / x", [-0.5, 1.0, math.inf, None]),
        ("x / x", [1.0, 1.0, None, None]),
        ("x > 0", [0.0, 1.0, 0.0, None]),
        ("not x", [0.0, 0.0, 1.0, None]),
        ("x != 1 and x", [1.0, 0.0, 0.0, None]),
        ("x == 1 or x == 0", [0.0, 1.0, 1.0, None]),
        ("-2 < x <= 0", [0.0, 0.0, 1.0, None]),
        ("where(x > 0, log(x), -1)", [-1.0, 0.0, -1.0, None]),
        ("min(x, 0.5, 7)", [-2.0, 0.5, 0.0, None]),
        ("max(x, 0)", [0.0, 1.0, 0.0, None]),
        ("2 ** x", [0.25, 2.0, 1.0, None]),
        ("x *\n  1e300", [-math.inf, math.inf, 0.0, None]),
        ("x", [-2.0, 1.0, 0.0, None]),
    ],
)
def test_what_has_no_answer_is_null_and_infinity_stays(expression: str, wanted: list[float | None]) -> None:
    assert value(expression, x=[-2.0, 1.0, 0.0, None]) == wanted
    assert value(expression, x=[-2.0, 1.0, 0.0, math.nan]) == wanted
    assert value(expression, x=[]) == []


def test_names_of_nodes_and_short_names() -> None:
    table = pa.table({"loss.loss": [1.0, 2.0], "in": pa.array([3, None], pa.int16())})
    op = Formula(expression="loss.loss + n", names={"n": "in"}, name="both")
    assert run(op, table).to_pydict() == {"both": [4.0, None]}
    assert list(op.reads) == ["loss.loss", "in"]
    assert columns_of("b + a * b - n.c") == ("b", "a", "n.c")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("loss +* 2", r"at character 7, near '\* 2': invalid syntax; it may have numbers, columns"),
        ("loss + ", r"at character 7: invalid syntax"),
        ("  loss + log(é, 2)", r"character 10, near 'log\(é, 2\)': log\(\) takes 1 arguments, not 2"),
        ("ä + lgo(x)", r"at character 5, near 'lgo\(x\)': no function 'lgo'.*log1p\(\)"),
        ("__import__('os').system('x')", r"character 1, .* no function \"__import__"),
        ("x.y.z", r"'x\.y\.z' is not allowed"),
        ("x[0]", r"'x\[0\]' is not allowed"),
        ("'a' + x", "\"'a'\" is not allowed"),
        ("x if y else z", r"write where\(condition, a, b\)"),
        ("(lambda: x)()", "no function"),
        ("(y := x)", "not allowed"),
        ("x % 2", "'x % 2' is not allowed"),
        ("x in y", "'x in y' is not allowed"),
        ("~x", "'~x' is not allowed"),
        ("True * x", "True is not allowed"),
        ("2j * x", "'2j' is not allowed"),
        ("x * 1" + "0" * 400, "too large for float64"),
        ("x # y", "'#' is not allowed"),
        ("1 + 2", "it names no column"),
        ("", "invalid syntax"),
        ("x\0", "null bytes"),
        ("min(x)", r"min\(\) takes 2 to 64 arguments, not 1"),
        ("min(*x, y)", "arguments"),
        ("log(x=1)", "no function 'log'"),
        ("-" * 200 + "x", "nested more than 100 deep"),
        ("(" * 400 + "x" + ")" * 400, "cannot be read at character"),
        ("x + " * 600 + "x", "2401 characters; 2000 are the most"),
        ("class + x", "character 1, near 'class"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Formula(expression=expression)


def test_a_name_that_is_not_used_is_refused() -> None:
    with pytest.raises(ValueError, match="names has 'z', which the expression lacks"):
        Formula(expression="x + 1", names={"z": "loss"})
