"""The selection benchmark's plain algorithms, its objectives and its path from a mixture to the table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from workflows.bench import selecting


def made(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)


def test_objectives_by_hand() -> None:
    x = np.array([[3, 0], [0, 4], [-3, 0], [3, 0.01]], np.float32)
    chosen = np.array([0, 2])
    assert selecting.objective("k-center, tamis", x, chosen) == pytest.approx(5)
    assert selecting.objective("facility, tamis", x, chosen) == pytest.approx(0.75, abs=1e-4)
    p = selecting.factors(x).astype(float)
    g = (p[:, :, None] * x[:, None, :]).reshape(4, -1)
    far = np.linalg.norm(g[:, None] - g[chosen], axis=2).min(axis=1)
    assert selecting.objective("BADGE, tamis", x, chosen) == pytest.approx(far.mean())


def test_votes_counted_plainly_are_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "NEIGHBOURS", 7)
    x = made(80)
    found = selecting.WAYS["vote-k, tamis"](x, 9).tolist()
    assert found == selecting.votes_plainly(x, 9).tolist()
    assert selecting.objective("vote-k, tamis", x, np.arange(80)) == 1


def test_gradients_chosen_plainly_are_different_rows() -> None:
    x = made(60)
    plain, ours = selecting.gradients_plainly(x, 8), selecting.gradients_by_tamis(x, 8)
    assert plain[0] == ours[0]
    assert len(set(plain.tolist())) == len(set(ours.tolist())) == 8


def test_a_mixture_is_chosen_from_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--rows", "200", "--budget", "5", "--ways", "k-center, tamis; k-center, none"]
    monkeypatch.setattr(sys, "argv", ["selecting", str(tmp_path / "out"), *wanted])
    selecting.main()
    ours, none = capsys.readouterr().out.strip().splitlines()[-2:]
    x = selecting.vectors_of(tmp_path / "out")
    chosen = np.load(tmp_path / "out" / "k-center, tamis.npy")
    assert f"{selecting.objective('k-center', np.array(x), chosen):.4f}" in ours
    assert "KeyError" in none
