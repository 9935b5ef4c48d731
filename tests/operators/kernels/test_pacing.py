"""Pacing functions are exact at both ends, monotone, in range, and those that DeepSpeed has agree with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.pacing import Pacing

UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=30)
KINDS = ("linear", "root", "competence", "exponential", "step")


@st.composite
def pacings(draw: st.DrawFn, end: float = 1.0) -> Pacing:
    """Any pacing function up to `end`."""
    kind = draw(st.sampled_from([*KINDS, "baby_steps", "stages", "table", "sort"]))
    fields: dict[str, Any] = {"kind": kind, "over": draw(st.floats(0.01, 1.0))}
    fields["start"] = draw(st.floats(1e-4, 1.0)) * end
    fields["power"] = draw(st.floats(1.0, 8.0))
    fields["steps"] = draw(st.integers(2, 9))
    if kind in ("stages", "table"):
        count = draw(st.integers(2, 6))
        values = np.sort(draw(st.lists(st.floats(0.01, 1.0), min_size=count, max_size=count))) * end
        times = [k / (count - 1) for k in range(count)]
        if kind == "table":
            fields["table"] = list(zip(times, [*values[:-1], end], strict=True))
            fields["interpolate"] = draw(st.booleans())
        else:
            fields["stages"] = list(zip([*values[:-1], end], [0.01, *times[1:]], strict=True))
    return Pacing(**fields)


@given(
    st.sampled_from([1.0, 100.0, 4096.0]).flatmap(lambda end: st.tuples(pacings(end), st.just(end))), UNITS
)
def test_exact_at_both_ends_monotone_and_in_range(case: tuple[Pacing, float], times: list[float]) -> None:
    pacing, end = case
    first, last, later = pacing.values([0.0, pacing.over, 1.0], end)
    assert (first, last, later) == (pacing.first(end), end, end)
    values = pacing.values(np.sort(np.array(times)), end)
    assert ((values >= first) & (values <= end)).all()
    assert (np.diff(values) >= -4e-16 * end).all()  # the powers' own rounding


@given(pacings(1024.0), st.integers(1, 50), st.sampled_from([1, 8, 64]))
def test_lengths_are_whole_multiples_but_at_the_ends(pacing: Pacing, steps: int, multiple: int) -> None:
    if pacing.kind == "sort" or pacing.first(1024.0) % 1:
        with pytest.raises(ValueError, match="a sequence cannot begin"):
            pacing.lengths(0, steps, 1024, multiple)
        return
    lengths = pacing.lengths(np.arange(steps + 1), steps, 1024, multiple)
    assert (lengths[0], lengths[-1]) == (pacing.first(1024.0), 1024)
    assert (np.diff(lengths) >= 0).all()
    inside = lengths[(lengths > lengths[0]) & (lengths < 1024)]
    assert not (inside % multiple).any()


@given(pacings(), UNITS)
def test_the_line_is_the_function(pacing: Pacing, times: list[float]) -> None:
    t, values = pacing.line()
    assert (t[0], t[-1], values[0], values[-1]) == (0.0, 1.0, pacing.first(), 1.0)
    assert (np.diff(t) >= 0).all()
    assert (np.diff(values) >= 0).all()
    jumps = t[1:][np.diff(t) == 0]
    asked = np.array([time for time in times if not len(jumps) or np.abs(jumps - time).min() > 1e-6])
    np.testing.assert_allclose(np.interp(asked, t, values), pacing.values(asked), rtol=2e-6)


def test_the_formulas_of_the_papers() -> None:
    t = np.linspace(0, 1, 11)
    expected = np.minimum(1, np.sqrt(t * (1 - 0.01**2) + 0.01**2))  # Platanios et al. 2019, eq. 9
    np.testing.assert_allclose(Pacing(kind="competence").values(t), expected, rtol=1e-12)
    linear = Pacing(kind="competence", power=1.0).values(t)
    np.testing.assert_allclose(linear, Pacing(kind="linear").values(t), rtol=1e-12)
    exponential = Pacing(kind="exponential", start=16.0).values(t, 256)
    np.testing.assert_allclose(exponential, 16 * 16.0**t, rtol=1e-12)
    shortformer = Pacing(kind="stages", stages=[(64, 0.5), (256, 1)])
    assert shortformer.lengths(np.arange(5), 4, 256).tolist() == [64, 64, 256, 256, 256]
    baby = Pacing(kind="baby_steps", steps=4)
    assert baby.values([0, 0.2, 0.25, 0.6, 0.75, 1]).tolist() == [0.25, 0.25, 0.5, 0.75, 1, 1]
    equal = Pacing(kind="step", steps=3, start=0.5)
    assert equal.values([0.3, 1 / 3, 0.5, 2 / 3, 1]).tolist() == [0.5, 0.75, 0.75, 1, 1]
    warm_up = Pacing(kind="linear", start=16, over=0.6).lengths(np.arange(11), 10, 256)
    assert warm_up.tolist() == [16, 56, 96, 136, 176, 216, 256, 256, 256, 256, 256]


def deepspeed_root(step: int, total: int, least: int, most: int, multiple: int, degree: float) -> int:
    """`fixed_root`, and with degree 1 `fixed_linear`, as DeepSpeed 0.19.8 documents it in
    deepspeed/runtime/data_pipeline/curriculum_scheduler.py; older ones lack the max."""
    now = math.floor((step / total) ** (1 / degree) * (most - least) + least)
    return min(max(now - now % multiple, -(-least // multiple) * multiple), most)


@pytest.mark.parametrize("degree", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(("least", "most", "multiple"), [(16, 1024, 8), (8, 2048, 8), (64, 4096, 64)])
@pytest.mark.parametrize("total", [200, 997])
def test_deepspeed_agrees_where_the_ends_are_multiples(
    degree: float, least: int, most: int, multiple: int, total: int
) -> None:
    pacing = Pacing(kind="root", start=least, power=degree)
    ours = pacing.lengths(np.arange(total + 1), total, most, multiple)
    theirs = [deepspeed_root(step, total, least, most, multiple, degree) for step in range(total + 1)]
    assert ours.tolist() == theirs


def test_deepspeed_misses_ends_that_are_no_multiples() -> None:
    linear = Pacing(kind="linear", start=10)
    ours = linear.lengths([0, 1, 99, 100], 100, 100).tolist()
    theirs = [deepspeed_root(step, 100, 10, 100, 8, 1) for step in (0, 1, 99, 100)]
    assert ours == [10, 10, 96, 100]
    assert theirs == [16, 16, 96, 96]


def deepspeed_discrete(step: int, difficulty: list[int], max_step: list[int]) -> int:
    """`fixed_discrete` of the same file: a level holds up to and with its max_step."""
    return difficulty[sum(step > until for until in max_step)]


def test_deepspeed_has_the_same_stages_but_counts_steps_from_1() -> None:
    pacing = Pacing(kind="stages", stages=[(8, 0.2), (64, 0.5), (128, 1)])
    ours = pacing.lengths(np.arange(100), 100, 128).tolist()
    theirs = [deepspeed_discrete(step, [8, 64, 128], [20, 50]) for step in range(1, 101)]
    assert ours == theirs


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "stages"}, "needs stages"),
        ({"stages": [[1, 1]]}, "does not read stages"),
        ({"kind": "linear", "table": [[0, 1], [1, 1]]}, "does not read table"),
        ({"kind": "stages", "stages": [[0.5, 0.5]]}, "end with 1"),
        ({"kind": "stages", "stages": [[0.5, 0.5], [0.4, 1]]}, "never descend"),
        ({"kind": "table", "table": [[0.1, 0.5], [1, 1]]}, "begin at 0.1"),
        ({"kind": "table", "table": [[0, 0], [1, 1]]}, "must be positive"),
        ({"kind": "table", "table": [[0, 0.1], [0, 0.2], [1, 1]]}, "must ascend"),
        ({"kind": "table", "table": [[0, float("nan")], [1, 1]]}, "must be positive"),
        ({"kind": "table", "table": [[0, 0.1], [0.5, float("nan")], [1, 1]]}, "must be positive"),
        ({"kind": "stages", "stages": [[0.5, float("nan")], [1, 1]]}, "must ascend"),
        ({"kind": "cubic"}, "kind"),
        ({"start": float("nan")}, "start"),
        ({"over": 0}, "over"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pacing(**fields)


def test_ends_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="start = 512 lies above the end, 256"):
        Pacing(start=512).values(0.5, 256)
    with pytest.raises(ValueError, match="its last value is 128, but must be 256"):
        Pacing(kind="stages", stages=[[64, 0.5], [128, 1]]).lengths(0, 10, 256)


def test_what_lies_below_the_diagonal_is_told() -> None:
    assert all(Pacing(kind=kind).below() is None for kind in ("linear", "root", "competence", "baby_steps"))
    assert Pacing(kind="step").below() == (0.2, 0.01)
    assert Pacing(kind="step", start=0.2).below() is None
    assert Pacing(kind="exponential", over=0.1).below() is None
    t, c = Pacing(kind="exponential").below() or (0.0, 0.0)
    assert c == pytest.approx(0.01 ** (1 - t))
    assert t - c > 0.4


def test_a_name_is_a_pacing() -> None:
    assert Pacing.model_validate("root") == Pacing(kind="root")
    assert hash(Pacing.model_validate({"kind": "table", "table": [[0, 1], [1, 1]]}))
