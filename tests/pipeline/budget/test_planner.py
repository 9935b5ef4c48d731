"""Plans are as good as brute force finds, keep to their budget, and say what they rest on."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.budget.fit import fit
from pipeline.budget.law import Law, published
from pipeline.budget.planner import Plan, epochs_worth_it, plan
from pipeline.budget.pools import Pool, curve_from_losses, curve_of, read_curve
from pipeline.budget.runs import read_runs
from pipeline.errors import ConfigError, DataError

LAW = published("data_constrained")
CURVE = curve_of([0.1, 0.3, 0.6, 1.0], [1.6, 1.5, 1.2, 1.0])
SCALING = Path(__file__).parents[3] / "configs" / "examples" / "scaling"


def test_the_worked_example_of_the_data_constrained_paper() -> None:
    """README of huggingface/datablations: 227B tokens, 9.1 epochs, 6.8B parameters."""
    made = plan(6 * 8.67e9 * 178e9, [Pool("c4", 25e9)], LAW)
    assert made.tokens == pytest.approx(227e9, rel=0.005)
    assert made.epochs["c4"] == pytest.approx(9.1, abs=0.05)
    np.testing.assert_allclose(made.N, 6.8e9, rtol=0.005)


def test_with_endless_data_the_size_is_chinchillas_closed_form() -> None:
    """N = G (C / 6)^(beta / (alpha + beta)), eq. 4 of Hoffmann et al. 2022."""
    p, C = published("epoch").params, 1e21
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    made = plan(C, [Pool("web", 1e15)], published("epoch"))
    best = g * (C / 6) ** (p["beta"] / (p["alpha"] + p["beta"]))
    np.testing.assert_allclose(made.N, best, rtol=1e-3)


@settings(deadline=None, max_examples=25)
@given(
    st.floats(1e17, 1e23), st.floats(1e8, 1e12), st.floats(1e7, 1e11), st.floats(0, 1e9), st.floats(1, 20),
    st.sampled_from(["data_constrained", "epoch", "kaplan"]),
)  # fmt: skip
def test_a_plan_keeps_to_its_budget_and_its_pools(
    flops: float, web: float, wiki: float, score: float, most: float, name: str
) -> None:
    pools = [Pool("web", web, CURVE), Pool("wiki", wiki)]
    made = plan(flops, pools, published(name), score_flops_per_token=score, max_epochs=most)
    used = made.flops["training"] + made.flops["scoring"]
    assert used <= flops * (1 + 1e-9)
    assert made.flops["training"] == pytest.approx(6 * made.N * made.tokens)
    assert made.flops["unspent"] == pytest.approx(flops - used, abs=1e-6 * flops)
    for row in made.pools:
        assert row["epochs"] <= most * (1 + 1e-9)
        assert 0.1 <= row["keep_fraction"] <= 1
    assert made.loss <= made.everything["loss"] * (1 + 1e-9)
    assert made.loss <= min(row["loss"] for row in made.table) * (1 + 1e-9)


@pytest.mark.parametrize("score", [0.0, 3e8])
def test_shares_of_two_pools_are_as_good_as_brute_force(score: float) -> None:
    other = curve_of([0.2, 0.5, 1.0], [0.9, 1.3, 1.0])
    whole = (3e9, 6e8)
    pools = [Pool("a", whole[0], CURVE), Pool("b", whole[1], other)]
    made = plan(2e19, pools, LAW, score_flops_per_token=score)
    least = np.inf
    for f, g in product(CURVE.shares()[::7], other.shares()[::7]):
        fixed = [
            Pool("a", f * whole[0], multiplier=float(CURVE.at(np.array([f]))[0])),
            Pool("b", g * whole[1], multiplier=float(other.at(np.array([g]))[0])),
        ]
        cost = score * sum(tokens for share, tokens in zip((f, g), whole, strict=True) if share < 1)
        least = min(least, plan(2e19 - cost, fixed, LAW).loss)
    assert made.loss <= least * (1 + 1e-6)


def test_scoring_that_costs_more_than_it_gains_is_left_out() -> None:
    pool = [Pool("web", 1e12, CURVE)]
    assert plan(1e20, pool, LAW).keep_fraction["web"] < 1
    dear = plan(1e20, pool, LAW, score_flops_per_token=2e8)
    assert dear.keep_fraction["web"] == 1
    assert dear.flops["scoring"] == 0


def test_the_better_pool_is_repeated_more() -> None:
    made = plan(1e20, [Pool("a", 1e9, multiplier=1.5), Pool("b", 1e9)], LAW)
    assert made.epochs["a"] > made.epochs["b"] > 1


def test_tokens_that_run_out_leave_compute_over() -> None:
    made = plan(1e22, [Pool("tiny", 1e6)], LAW, max_epochs=2)
    assert made.epochs["tiny"] == pytest.approx(2)
    assert any("stay unspent" in text for text in made.warnings)


def test_it_says_which_side_of_the_rule_of_hard_examples_it_is_on() -> None:
    def told(flops: float, tokens: float) -> str:
        return plan(flops, [Pool("a", tokens)], LAW).notes[0]

    assert "keep the hard ones" in told(1e20, 1e13)
    assert "keep the easy ones" in told(1e21, 1e8)


def test_a_fitted_law_gives_intervals_and_says_when_it_extrapolates() -> None:
    runs = read_runs(str(SCALING / "chinchilla_points.csv"), ("N", "D"))[""].at(slice(5, 85))
    law = fit(runs, bootstrap=20)
    near, far = (plan(flops, [Pool("web", 1e13)], law) for flops in (1e19, 1e24))
    assert near.low is not None
    assert near.low < near.loss < near.high  # type: ignore[operator]
    assert near.N_low <= near.N <= near.N_high  # type: ignore[operator]
    assert not any("extrapolates" in text for text in near.warnings)
    assert any("extrapolates" in text for text in far.warnings)
    assert far.high - far.low > near.high - near.low  # type: ignore[operator]
    assert any(
        "chinchilla says nothing of repeats" in text for text in plan(1e20, [Pool("a", 1e8)], law).notes
    )


def test_first_passes_of_a_worse_pool_are_worth_a_larger_model() -> None:
    """Brute force over shares, sizes and spreads finds 2.5599 here; by worth alone it would be 2.5672."""
    curve = curve_of([0.1, 0.3, 1.0], [2.0, 1.6, 1.0])
    made = plan(1e20, [Pool("a", 1e10, curve), Pool("b", 3e9)], LAW, score_flops_per_token=2e8)
    assert made.loss == pytest.approx(2.5599, abs=3e-4)
    assert made.epochs["b"] >= 0.99


def test_what_a_fit_warned_of_is_said_of_its_plans() -> None:
    law = replace(LAW, warnings=("alpha is not identified",))
    assert "of the law: alpha is not identified" in plan(1e20, [Pool("a", 1e13)], law).warnings


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keep": [0.0, 0.5, 1.0]}, "keep is 0"),
        ({"N": [-1e8] * 3}, "N is -1e"),
        ({"D": [0.0] * 3}, "D is 0"),
        ({"loss": [3.1, 3.2, float("nan")]}, "loss is nan"),
        ({"unique": [1e9, -5, 1e9]}, "U is -5"),
    ],
)
def test_proxies_are_positive_numbers(change: dict[str, list[float]], text: str) -> None:
    proxies = {"keep": [0.1, 0.5, 1.0], "loss": [3.1, 3.2, 3.3], "N": [1e8] * 3, "D": [1e9] * 3}
    with pytest.raises(DataError, match=text):
        curve_from_losses(**proxies | change, law=LAW)  # type: ignore[arg-type]


def test_losses_of_proxies_give_the_worth_they_were_made_with() -> None:
    """Proxies that obey the law with tokens worth q, on another tokenizer's scale (0.3 nats higher)."""
    keep, q = np.array([0.2, 0.5, 1.0]), np.array([1.3, 1.2, 1.0])
    n, d, p = 5e7, 1e10, LAW.params
    loss = p["E"] + 0.3 + p["A"] / n ** p["alpha"] + p["B"] / (q * d) ** p["beta"]
    curve = curve_from_losses(keep, loss, [n] * 3, [d] * 3, LAW)
    np.testing.assert_allclose(curve.q, q, rtol=1e-9)
    np.testing.assert_allclose(curve.at(keep), q, rtol=1e-9)


def test_repeats_inside_proxies_are_not_taken_for_bad_tokens() -> None:
    keep, n, d, whole = np.array([0.25, 0.5, 1.0]), 5e7, 1e10, 1e10
    p = LAW.params
    worth = np.array([epochs_worth_it(f * whole, d) for f in keep])
    loss = p["E"] + p["A"] / n ** p["alpha"] + p["B"] / worth ** p["beta"]
    curve = curve_from_losses(keep, loss, [n] * 3, [d] * 3, LAW, [whole] * 3)
    np.testing.assert_allclose(curve.q, 1.0, rtol=1e-6)


def test_the_noise_of_proxies_is_told() -> None:
    sure = curve_of([0.5] * 2 + [0.8] * 2 + [1.0] * 2, [1.3, 1.31, 1.1, 1.11, 1.0, 1.01])
    loose = curve_of([0.5] * 2 + [0.8] * 2 + [1.0] * 2, [1.0, 1.6, 0.9, 1.4, 0.8, 1.2])

    def told(curve: object) -> Plan:
        return plan(1e20, [Pool("web", 1e12, curve)], LAW)  # type: ignore[arg-type]

    assert not any("standard errors" in text for text in told(sure).warnings)
    assert any("less than two standard errors" in text for text in told(loose).warnings)
    assert any("one proxy run a share" in text for text in told(CURVE).warnings)


@pytest.mark.parametrize(
    ("keep", "q", "text"),
    [
        ([0.5, 1.0], [1.0, 1.0], "2 different shares; measure at least 3"),
        ([0.2, 0.5, 0.9], [1.0, 1.0, 1.0], "no run at keep = 1"),
        ([0.2, 0.5, 1.5], [1.0, 1.0, 1.0], "keep is 1.5"),
        ([0.2, 0.5, 1.0], [1.0, -1.0, 1.0], "q is -1"),
        ([0.2, float("nan"), 1.0], [1.0, 1.0, 1.0], "keep is nan"),
    ],
)
def test_curves_that_are_none(keep: list[float], q: list[float], text: str) -> None:
    with pytest.raises(DataError, match=text):
        curve_of(keep, q)


def test_curves_come_from_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("keep,q\n0.2,1.4\n0.5,1.2\n1,1\n")
    (tmp_path / "a.json").write_text(
        '[{"keep": 0.2, "q": 1.4}, {"keep": 0.5, "q": 1.2}, {"keep": 1, "q": 1}]'
    )
    for name in ("a.csv", "a.json"):
        np.testing.assert_allclose(read_curve(str(tmp_path / name), LAW).q, [1.4, 1.2, 1.0])
    (tmp_path / "a.csv").write_text("keep,q,note\n0.2,1.4,a\n0.5,1.2,b\n1,1,c\n")
    np.testing.assert_allclose(read_curve(str(tmp_path / "a.csv"), LAW).q, [1.4, 1.2, 1.0])
    (tmp_path / "b.csv").write_text("keep,loss,note\n0.2,1.4,x\n")
    with pytest.raises(DataError, match=r"b\.csv: no column N; a keep curve has.*are: keep, loss, note"):
        read_curve(str(tmp_path / "b.csv"), LAW)
    for text, message in (
        ('{"keep": [1], "q": [1]}', "it is no list of rows such as"),
        ("[]", "it is no list of rows such as"),
        ('[{"keep": 0.2, "q": 1}, {"keep": 0.5}, {"keep": 1, "q": 1}]', "q is nan; give positive"),
    ):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_curve(str(tmp_path / "b.json"), LAW)
    with pytest.raises(ConfigError, match="no such file"):
        read_curve(str(tmp_path / "c.csv"), LAW)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flops": 0.0}, "a budget of 0.0 FLOPs"),
        ({"pools": []}, "no pools"),
        ({"pools": [Pool("a", 1.0), Pool("a", 2.0)]}, "pools of the same name: a, a"),
        ({"max_epochs": 0.5}, "max_epochs 0.5"),
        ({"score_flops_per_token": -1.0}, "-1.0 FLOPs to score a token"),
        ({"law": Law("hestness", {"g": 1.0, "a": 1.0, "b": 0.3})}, "a plan needs a law of size and tokens"),
    ],
)
def test_what_cannot_be_planned(change: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        plan(**({"flops": 1e20, "pools": [Pool("a", 1e9)], "law": LAW} | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [0.0, -1.0, float("nan")])
def test_pools_are_positive(tokens: float) -> None:
    with pytest.raises(ConfigError, match="pool 'a': tokens is"):
        Pool("a", tokens)
