"""Self-paced weights minimise what they are said to minimise; the share grows to its cap."""

from __future__ import annotations

import numpy as np
import pytest
from selecting import again, losses, rows_of

from gpu_ops.trainer.select.selector import Scores
from gpu_ops.trainer.select.self_paced import SelfPaced, eased

V = np.linspace(0, 1, 100_001)


def best(loss: float, regulariser) -> float:
    """The weight that minimises v L + f(v), by brute force."""
    return float(V[np.argmin(V * loss + regulariser)])


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4, 0.6, 0.89, 1.2])
def test_weights_minimise_the_objective(loss) -> None:
    one = np.array([loss])
    assert eased(one, 0.7, "hard") == pytest.approx(best(loss, -0.7 * V))
    assert eased(one, 0.7, "linear") == pytest.approx(best(loss, 0.7 * (V**2 / 2 - V)), abs=1e-4)
    z = 0.1
    logarithmic = z * V - z**V / np.log(z)
    assert eased(one, 1 - z, "logarithmic") == pytest.approx(best(loss, logarithmic), abs=1e-4)
    mixture = -0.7 * np.log(V + 0.7 / 0.7)  # zeta = lambda, with k1 = 2 / lambda and k2 = 1 / lambda
    assert eased(one, 0.7, "mixture") == pytest.approx(best(loss, mixture), abs=1e-4)


def paced(**fields) -> SelfPaced:
    start = {"start": 0.2, "cap": 0.7, "grow": 10, "warmup": 2, "power": 1.0, "weights": "hard"}
    return SelfPaced(**{**start, "own": False, "ring": 1000, "by_class": False, **fields})


def test_the_share_grows_from_start_to_cap_after_the_warm_up() -> None:
    selector, shares = paced(), []
    for _ in range(15):
        shares.append(selector.share)
        selector.learn(rows_of(1), Scores())
    assert shares[:3] == [1, 1, pytest.approx(0.2)]
    assert shares[2:13] == pytest.approx(np.linspace(0.2, 0.7, 11))
    assert shares[13:] == pytest.approx([0.7, 0.7])


def test_the_easiest_rows_are_gathered() -> None:
    selector = paced(warmup=0)
    first = selector.choose(rows_of(10), Scores(loss=np.arange(10.0)), 10, 0)
    assert first.index.tolist() == [0, 1]
    assert first.told["lambda"] == pytest.approx(1.8)
    kept = [len(selector.choose(rows_of(50), losses(n, 50), 50, n).index) for n in range(1, 200)]
    assert np.mean(kept) == pytest.approx(10, abs=1)


def test_all_rows_of_one_loss_are_easy() -> None:
    assert len(paced(warmup=0).choose(rows_of(10), Scores(loss=np.full(10, 2.0)), 10, 0).index) == 10


def test_its_own_losses_weigh_the_rows() -> None:
    selector = paced(own=True, warmup=0, start=0.5, cap=0.5)
    assert selector.wants(rows_of(4)) == frozenset()
    assert selector.choose(rows_of(4), Scores(), 4, 0).weigh(np.arange(4.0)).tolist() == [1, 1, 1, 1]
    selector.learn(rows_of(4), Scores(loss=np.arange(4.0)))
    selector = again(selector, paced(own=True, warmup=0, start=0.5, cap=0.5))
    found = selector.choose(rows_of(4), Scores(), 4, 1)
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.weigh(np.arange(4.0)).tolist() == [1, 1, 0, 0]


def test_each_class_keeps_its_easiest() -> None:
    selector = paced(warmup=0, start=0.5, cap=0.5, by_class=True)
    batch = rows_of(12)
    loss = batch.targets * 10.0 + np.arange(12) // 3
    for _ in range(2):
        found = selector.choose(batch, Scores(loss=loss), 12, 0)
        assert np.bincount(batch.targets[found.index]).tolist() == [2, 2, 2]
        selector = again(selector, paced(warmup=0, start=0.5, cap=0.5, by_class=True))
    with pytest.raises(ValueError, match="have no class"):
        selector.choose(rows_of(4, tokens=3), Scores(loss=np.ones(4)), 4, 1)


def test_without_a_lambda_all_weigh_one_and_where_it_is_zero_only_zeros() -> None:
    for weights in ("hard", "linear", "logarithmic", "mixture"):
        assert eased(np.array([0.0, 9.0]), np.inf, weights).tolist() == [1, 1]
        assert eased(np.array([0.0, 9.0]), 0.0, weights).tolist() == [1, 0]
