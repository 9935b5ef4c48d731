"""YAML with lines: values as in YAML 1.2, positions, variables, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.yaml_positions import read

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.text(alphabet="abc xyz.-", max_size=8)
)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcd", min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(DATA)
def test_reads_what_pyyaml_writes(value: Any) -> None:
    assert read(yaml.safe_dump(value), "f").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("1.5e-3", 1.5e-3),
        (".5", 0.5),
        ("1_000_000", 1_000_000),
        ("0x10", 16),
        ("0o17", 15),
        ("010", 10),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("150k", "150k"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    got = read(f"a: {text}", "f").value["a"]
    assert (got, type(got)) == (value, type(value))


def test_every_value_has_its_line() -> None:
    document = read("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml")
    assert document.where("a") == "f.yaml:1"
    assert document.where("b", 1, "d") == "f.yaml:5"
    assert document.where("b", 1, "nothing here") == "f.yaml:4"
    assert document.line("b", 0) == 3


def test_merges_take_the_nearest_value() -> None:
    document = read("x: &b {a: 1, b: 2}\ny:\n  <<: *b\n  a: 3\n", "f")
    assert document.value["y"] == {"a": 3, "b": 2}
    assert document.where("y", "b") == "f:1"


def test_variables_in_values_only() -> None:
    document = read('a: ${X}/y\n${X}: "$${X} ${X}"\n', "f", {"X": "1"})
    assert document.value == {"a": "1/y", "${X}": "${X} 1"}
    assert not document.problems


def test_a_variable_stays_a_text_and_is_not_read_as_yaml() -> None:
    assert read("a: ${X}", "f", {"X": "{b: 1}"}).value == {"a": "{b: 1}"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x: 1\na: ${MISSING}\n", "f:2: the environment variable MISSING is not set; export MISSING=..."),
        ("a: ${1x}", "f:1: '${1x}' is no variable"),
        ("a: ${open", "f:1: '${open' is no variable"),
        ("a: 1\nb: 2\na: 3\n", "f:3: the key 'a' is already in line 1; keep one of them"),
        ("a: {b: 1, b: 2}", "f:1: the key 'b' is already in line 1"),
        ("a: 1\nb: !!python/object:os.system x\n", "f:2: the tag !!python/object:os.system is not allowed"),
        ("a: !!binary aGk=", "f:1: the tag !!binary is not allowed"),
        ("? [x]\n: 1\n", "f:1: a key must be a text or a number"),
        ("a: {<<: 3}", "f:1: << takes an anchor of a mapping"),
    ],
)
def test_problems_name_the_line(text: str, problem: str) -> None:
    problems = read(text, "f", {}).problems
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 'x", "f:1: not YAML"),
        ("a: 1\nb: c: d\n", "f:2: not YAML: mapping values are not allowed here"),
        ("a: {op: ${X}}", 'write a variable in quotes: "${NAME}"'),
        ("a:\n\tb: 1\n", "f:2: not YAML: .*; indent with spaces, not with tabs"),
        ("a: 1\n---\nb: 1\n", "f:2: not YAML: but found another document"),
        ("a: 1\nb: \x01\n", "f:2: the character #x01 is not allowed"),
        ("a: &a [*a]", "f:1: anchors or nesting expand"),
        ("[" * 1000, "f:1: "),
        ("a: *nope", "found undefined alias"),
    ],
)
def test_what_cannot_be_read_stops(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("${NAME}", r"\$\{NAME\}")):
        read(text, "f", {})


def test_exploding_anchors_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="to more than 100,000 values"):
        read("\n".join(lines), "f")
