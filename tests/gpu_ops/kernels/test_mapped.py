"""Whether a memory map is really let go of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gpu_ops.kernels import greedy
from gpu_ops.kernels.greedy import Dense, k_center
from gpu_ops.kernels.mapped import let_go

SIZE = 1 << 24


def mapped(folder: Path) -> np.memmap:
    np.ones((SIZE // 1024, 1024), np.uint8).tofile(folder / "x")
    return np.memmap(folder / "x", np.uint8, "r", shape=(SIZE // 1024, 1024))


def resident(path: Path) -> int:
    """Bytes of the mapped file in this process."""
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    found = re.search(rf"{re.escape(str(path))}\nSize:.*?Rss: +(\d+) kB", text, re.DOTALL)
    return int(found[1]) * 1024 if found else 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")
def test_the_pages_of_a_map_and_of_its_parts_go(tmp_path: Path) -> None:
    x = mapped(tmp_path)
    assert int(x.sum(dtype=np.int64)) == SIZE
    assert resident(tmp_path / "x") > SIZE // 2
    let_go(x[5:])
    assert resident(tmp_path / "x") == 0
    assert int(x.sum(dtype=np.int64)) == SIZE


def test_what_can_be_written_to_and_what_is_no_map_stays(tmp_path: Path) -> None:
    copy = np.memmap(tmp_path / "y", np.uint8, "w+", shape=(10_000,))
    private = np.memmap(tmp_path / "y", np.uint8, "c", shape=(10_000,))
    private[:] = 7
    for some in (copy, private, np.ones(3), None):
        let_go(some)
    assert (private == 7).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")
def test_a_choice_leaves_no_page_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "HELD", 1 << 20)
    x = np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32)
    x.tofile(tmp_path / "x")
    far = k_center(Dense(np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)), 5)
    assert resident(tmp_path / "x") == 0
    assert far.index.tolist() == k_center(Dense(x), 5).index.tolist()
