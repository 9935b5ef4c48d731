"""Packs: every sequence once, within the budget, halved where memory is short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ops.kernels.packing import for_packs


@dataclass
class Device:
    budget: int
    device: str = "cpu"


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 100), st.integers(1, 200))
def test_each_sequence_runs_once_within_the_budget_and_the_memory(
    lengths: list[int], budget: int, memory: int
) -> None:
    model, ran = Device(budget), []

    def run(pack: np.ndarray) -> None:
        size = len(pack) * max(lengths[i] for i in pack)
        if size > memory and len(pack) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert size <= budget or len(pack) == 1
        ran.extend(pack.tolist())

    for_packs(lengths, model, run)
    assert sorted(ran) == list(range(len(lengths)))
    assert [lengths[i] for i in ran] == sorted(lengths, reverse=True)
    assert 1 <= model.budget <= budget


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def run(pack: np.ndarray) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        for_packs([3, 4], Device(16), run)


def test_one_that_never_fits_says_so() -> None:
    def run(pack: np.ndarray) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(MemoryError, match="one input of 4 tokens does not fit on cpu"):
        for_packs([3, 4], Device(16), run, "input")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), st.integers(100, 5000))
def test_little_of_a_well_filled_pack_is_padding(lengths: list[int], budget: int) -> None:
    """All but what the last sequence of the least filling may bring."""

    def run(pack: np.ndarray) -> None:
        sizes = np.array([lengths[i] for i in pack])
        before_last = sizes[0] * (len(pack) - 1)
        padding = sizes[0] * len(pack) - sizes.sum()
        assert padding <= sizes[0] * len(pack) / 16 or before_last < budget / 8

    for_packs(lengths, Device(budget), run)
