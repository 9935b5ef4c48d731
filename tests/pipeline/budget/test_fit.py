"""Fits find the laws that runs were made from, and the published refits of real runs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from pipeline.budget.diagnose import interval
from pipeline.budget.fit import choose, fit, overfitted
from pipeline.budget.law import Law, published
from pipeline.budget.laws import PUBLISHED
from pipeline.budget.runs import Runs, read_runs, runs_of
from pipeline.errors import ConfigError, DataError

SCALING = Path(__file__).parents[3] / "configs" / "examples" / "scaling"
NO_REPEATS = {k: v for k, v in PUBLISHED["data_constrained"][1].items() if k not in ("R_D", "R_N")}


def made(law: Law, runs: int = 60, noise: float = 0.0, seed: int = 1) -> Runs:
    """Runs that obey a law, but for noise in the logarithm."""
    rng = np.random.default_rng(seed)
    N, D = np.exp(rng.uniform(16, 22, runs)), np.exp(rng.uniform(18, 25, runs))
    U = D * np.exp(-rng.uniform(0, 4, runs))
    loss = law.losses(N, D, U) * np.exp(noise * rng.normal(size=runs))
    return runs_of(N, D, loss, U)


@pytest.fixture(scope="module")
def chinchilla() -> Runs:
    return read_runs(str(SCALING / "chinchilla_points.csv"), ("N", "D"))[""]


@pytest.fixture(scope="module")
def repeated() -> Runs:
    return read_runs(str(SCALING / "data_constrained_runs.csv"), ("N", "D", "U"))[""]


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("kaplan_n", PUBLISHED["kaplan_n"][1]),
        ("kaplan_d", PUBLISHED["kaplan_d"][1]),
        ("kaplan", {"N_c": 3e13, "D_c": 2e13, "alpha_N": 0.08, "alpha_D": 0.11}),
        ("chinchilla", {"E": 1.5, "A": 200.0, "B": 900.0, "alpha": 0.31, "beta": 0.33}),
        (
            "data_constrained",
            {"E": 1.6, "A": 300.0, "B": 900.0, "alpha": 0.33, "beta": 0.34, "R_D": 9.0, "R_N": 4.0},
        ),
        ("transfer", {"k": 2.5e4, "a": 0.21, "b": 0.36}),
        ("hestness", {"g": 1.7, "a": 400.0, "b": 0.3}),
        ("m4", {"floor": 1.5, "span": 3.0, "alpha": 0.7, "b": 400.0, "c": 0.3}),
        ("bnsl", {"a": 1.0, "b": 30.0, "c0": 0.1, "d": 2e9, "f": 0.5, "c1": 0.2}),
        ("exponential", {"E": 2.0, "A": 3.0, "x0": 1e10}),
    ],
)
def test_constants_are_recovered(kind: str, params: dict[str, float]) -> None:
    law = fit(made(Law(kind, params)), kind, bootstrap=0)
    assert law.params == pytest.approx(params, rel=0.02)
    assert law.holdout_error is not None
    assert law.holdout_error["worst"] < 1e-3


@pytest.mark.parametrize("name", ["kaplan_n", "kaplan_d", "kaplan"])
def test_kaplans_constants_to_three_digits(name: str) -> None:
    kind, params = PUBLISHED[name]
    law = fit(made(published(name)), kind, bootstrap=0)
    assert {k: f"{v:.3g}" for k, v in law.params.items()} == {k: f"{v:.3g}" for k, v in params.items()}


def test_the_refit_of_chinchilla_after_five_outliers(chinchilla: Runs) -> None:
    """Besiroglu et al. 2024 find .3478 and .3658 on their reading of the figure, without the same five."""
    start = time.process_time()
    law = fit(chinchilla, drop_outliers=5)
    assert time.process_time() - start < 15
    assert sorted(law.dropped) == [0, 1, 2, 3, 4]
    assert law.params["alpha"] == pytest.approx(0.3478, abs=0.003)
    assert law.params["beta"] == pytest.approx(0.3658, abs=0.003)
    assert law.ci["beta"][0] < 0.3658 < law.ci["beta"][1]
    assert not law.warnings


def test_the_minimum_is_that_of_scipy(chinchilla: Runs) -> None:
    """`least_squares` with its own Huber loss and numeric gradients, from the minimum of the fit."""
    runs = chinchilla.at(slice(5, None))
    law = fit(runs, bootstrap=0)
    form = law.form

    def residual(theta: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = form.natural(theta)
        return np.log(e + a / runs.N**alpha + b / runs.D**beta) - np.log(runs.loss)

    start = form.theta(law.params)
    found = least_squares(residual, start, loss="huber", f_scale=1e-3, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert law.figures["misfit"] == pytest.approx(found.cost, rel=1e-6)
    np.testing.assert_allclose(form.natural(found.x)[3:], form.natural(start)[3:], rtol=1e-4)


def test_few_runs_that_carry_a_fit_are_named(chinchilla: Runs) -> None:
    law = fit(chinchilla, bootstrap=0)
    assert law.params["beta"] == pytest.approx(0.453, abs=0.001)
    assert law.leverage["group"]["rows"] == [0, 1, 2, 3, 4]
    assert law.leverage["group"]["changes"]["beta"] == pytest.approx(0.3672 / 0.4530 - 1, abs=0.002)
    assert law.warnings[0].startswith(
        "few runs carry the fit: without line 2, line 3, line 4, line 5, line 6"
    )
    assert "--drop-outliers 5" in law.warnings[0]


def test_leaving_a_run_out_is_a_fit_without_it(chinchilla: Runs) -> None:
    some = chinchilla.at(slice(5, 65))
    law = fit(some, bootstrap=0)
    row = law.leverage["single"][0]
    without = fit(some.at(np.arange(60) != row["row"]), bootstrap=0)
    for name, change in row["changes"].items():
        assert without.params[name] == pytest.approx(law.params[name] * (1 + change), rel=1e-3)


def test_the_law_of_repeats_on_real_runs(repeated: Runs) -> None:
    good = repeated.at(~overfitted(repeated, 1.10))
    assert len(good) == 130
    law = published("data_constrained")
    spread = ((good.loss - good.loss.mean()) ** 2).sum()
    assert 1 - ((law.losses(good.N, good.D, good.U) - good.loss) ** 2).sum() / spread >= 0.92
    refit = fit(good, "data_constrained", fixed=NO_REPEATS, bootstrap=20)
    assert refit.figures["r2"] >= 0.92
    assert refit.params["R_D"] == pytest.approx(11.75, abs=0.05)
    assert refit.params["R_N"] == pytest.approx(8.07, abs=0.05)
    assert set(refit.ci) == {"R_D", "R_N"}


def test_a_constant_without_evidence_is_said_to_be_loose(repeated: Runs) -> None:
    """On all runs the over-fitted ones pull repeats and excess parameters to where R_D has no end."""
    law = fit(repeated, "data_constrained", fixed=NO_REPEATS, bootstrap=10)
    assert any(text.startswith("R_D is not identified") and "∞" in text for text in law.warnings)


def test_ends_of_intervals_are_told_beside_the_constant() -> None:
    """A floor that may be nothing has an upper end all the same."""
    assert interval(2.71, (2.6e-204, 2.99)) == "0 to 2.99"
    assert interval(28.5, (22.5, 5e8)) == "22.5 to ∞"
    assert interval(5e-20, (4e-20, 3.0)) == "4.00e−20 to 3"
    assert interval(0.1, (-0.2, 0.3)) == "−0.2 to 0.3"


def test_the_same_seed_gives_the_same_intervals(chinchilla: Runs) -> None:
    some = chinchilla.at(slice(5, 45))
    one, two, other = (fit(some, bootstrap=5, seed=seed) for seed in (1, 1, 2))
    assert one.ci == two.ci != other.ci


def test_intervals_hold_the_truth() -> None:
    truth = {"g": 1.7, "a": 400.0, "b": 0.3}
    held = 0
    for seed in range(10):
        law = fit(made(Law("hestness", truth), 30, 0.01, seed), "hestness", bootstrap=40, delta=0.1)
        held += law.ci["b"][0] < 0.3 < law.ci["b"][1]
    assert held >= 7


def test_the_law_with_the_least_error_on_the_largest_runs_is_chosen() -> None:
    runs = made(Law("exponential", {"E": 2.0, "A": 3.0, "x0": 1e10}), 40)
    best, tried = choose(runs, ["hestness", "exponential"], bootstrap=0)
    assert best.kind == "exponential"
    assert list(tried) == ["hestness", "exponential"]


def test_a_law_survives_its_json(chinchilla: Runs) -> None:
    law = fit(chinchilla.at(slice(5, 45)), bootstrap=5)
    again = Law.from_json(law.as_json(), "law.json")
    assert again.params == law.params
    assert again.predict(1e9, 1e10).low == pytest.approx(law.predict(1e9, 1e10).low, rel=1e-6)
    assert again.warns(1e12, 1e10) == law.warns(1e12, 1e10)


def test_it_says_how_far_beyond_the_runs_a_point_is(chinchilla: Runs) -> None:
    law = fit(chinchilla, bootstrap=0)
    assert law.warns(1e9, 2e10) == []
    told = law.warns(1.618e11, 1e12)
    assert any("parameters is 10 times more than the largest of the runs (1.62e+10)" in text for text in told)
    assert any("FLOPs" in text for text in told)
    assert "not fitted to yours" in published("epoch").warns(1e9, 1e10)[0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"kind": "chinchila"}, ConfigError, "did you mean 'chinchilla'"),
        ({"fixed": {"alfa": 0.3}}, ConfigError, "no parameter 'alfa'; did you mean 'alpha'"),
        ({"fixed": {"alpha": -1.0}}, ConfigError, "alpha = -1.0 cannot be fixed"),
        ({"drop_outliers": 9}, ConfigError, "9 outliers cannot be dropped of 8 runs"),
        ({"drop_outliers": 3}, DataError, "5 parameters to fit and there are 5 runs"),
        ({"kind": "hestness", "over": "U"}, ConfigError, "over N or D, not 'U'"),
    ],
)
def test_what_cannot_be_fitted(options: dict[str, object], error: type[Exception], text: str) -> None:
    runs = made(published("epoch"), 8)
    with pytest.raises(error, match=text):
        fit(runs, **options)  # type: ignore[arg-type]


def test_all_constants_may_be_fixed() -> None:
    law = fit(made(published("epoch"), 8), fixed=PUBLISHED["epoch"][1], bootstrap=3)
    assert law.params == pytest.approx(PUBLISHED["epoch"][1])
    assert law.figures["misfit"] < 1e-12


def test_runs_that_say_nothing_of_the_size_give_finite_losses_and_warnings() -> None:
    """All of one size: E and A / N^alpha cannot be told apart."""
    D = np.geomspace(1e8, 1e11, 12)
    law = fit(runs_of(np.full(12, 1e8), D, published("epoch").losses(1e8, D)), bootstrap=10)
    assert all(np.isfinite(value) for value in law.params.values())
    assert law.losses([1e8], [3e9])[0] == pytest.approx(published("epoch").losses([1e8], [3e9])[0], rel=1e-3)
    assert any("the runs cannot tell E, A, alpha apart" in text for text in law.warnings)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_runs_are_positive_numbers(bad: float) -> None:
    with pytest.raises(DataError, match="row 1: loss is"):
        runs_of([1.0, 2.0], [1.0, 2.0], [3.0, bad])
