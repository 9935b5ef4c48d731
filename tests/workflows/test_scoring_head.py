"""What the head's benchmark prints, on a tiny head and a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpu_ops.kernels.head_stats import HeadStats
from workflows.bench.scoring_head import Cost, compared, errors, main, print_model_costs, textbook

MODEL = Path(__file__).parents[2] / "configs/quickstart/stories260K"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_every_part_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--shape", "40,300,16", "--repeats", "1", "--small"]
    main([*shape, "--model", str(MODEL), "--tokens", "64"])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "whole" in line]
    assert len(lines) == 5  # two shapes in two dtypes, and the model
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")][2:7]
        assert all(float(cell) < 2e-5 for cell in cells if cell != "-")
    for name in ("the matrix product alone", "head_stats: all statistics", "torch linear_cross_entropy"):
        assert name in printed
    assert "63 tokens on cpu" in printed


def test_errors_are_the_largest_ones() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 12.0, 0.0]], dtype=torch.float64)
    right = textbook(logits, torch.tensor([0, 1]))
    wrong = replace(right, loss=right.loss + torch.tensor([3e-3, 0]), delta=right.delta * 1.5)
    assert errors(right, right) == ["0.0e+00"] * 5 + ["1"]
    assert errors(wrong, right) == ["3.0e-03", "0.0e+00", "0.0e+00", "5.0e-01", "5.0e-01", "1"]
    assert isinstance(right, HeadStats)


def test_a_way_that_fails_is_told_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise MemoryError("64 GB are not there")

    found = compared({"a": lambda: None, "b": lambda: sum(range(10**5)), "c": fails}, "cpu", 2)
    assert found["c"] == "MemoryError: 64 GB are not there"
    assert isinstance(found["b"], Cost)
    assert found["b"].cpu_s > 0
    print_model_costs("title", found)
    assert "MemoryError: 64 GB" in capsys.readouterr().out
