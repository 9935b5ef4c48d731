"""Kernels give the same from a kept object file, from numba, and as plain Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.kernels.jit import inlined, kernel, part
from operators.kernels.kept_code import Kernel


@inlined
def _twice(x: Any) -> Any:
    return x + x


@part
def _add_all(numbers: Any, out: Any) -> int:
    for i in range(len(numbers)):
        out[i] += _twice(numbers[i])
    return len(numbers)


@kernel
def _numbers(data: Any, pair: Any, shift: int, scale: float, up: bool, small: Any) -> int:
    table, (floats, flags) = pair
    count = _add_all(data[1:], table[0])
    for i in range(len(floats)):
        floats[i] = floats[i] * scale + small
        flags[i] = up and floats[i] > 0
    return count + shift


@kernel
def _truth(x: Any) -> bool:
    return x[0] > 3


@kernel
def _unsigned(x: Any) -> Any:
    return x[0]


@kernel
def _float(x: Any) -> float:
    return x[0] / np.float32(2)


@kernel
def _allocates(n: int) -> int:
    return len(np.zeros(n))


@kernel
def _raises(x: Any) -> int:
    if x[0] < 0:
        raise ValueError("below 0")
    return 1


@kernel
def _two(x: Any) -> Any:
    return x[0], x[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where code is kept; kernels forget what they have loaded."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for name, known in list(globals().items()):
        if isinstance(known, Kernel):
            monkeypatch.setitem(globals(), name, Kernel(known.py_func, **known.targetoptions))
    return tmp_path / "objects"


def arguments() -> tuple[Any, ...]:
    table = np.arange(12, dtype=np.uint64).reshape(3, 4)
    floats, flags = np.array([-1.0, 0.5, 2.0]), np.zeros(3, bool)
    return np.array([9, 1, 2, 3], np.uint64), (table, (floats, flags)), -7, 2.5, True, np.float32(0.25)


def needs(folder: Path) -> list[str]:
    (path,) = folder.iterdir()
    return list(json.loads(path.read_bytes().split(b"\n")[0]).get("needs", []))


def test_arguments_of_every_kind_arrive_and_are_written_to(folder: Path) -> None:
    for _ in range(2):  # compiled, then loaded
        given = arguments()
        assert _numbers(*given) == 3 - 7
        table, (floats, flags) = given[1]
        np.testing.assert_array_equal(table[0], [2, 5, 8, 3])
        np.testing.assert_array_equal(floats, np.array([-1.0, 0.5, 2.0]) * 2.5 + 0.25)
        assert flags.tolist() == [False, True, True]
        _numbers._entries.clear()
    assert needs(folder) == []


def test_results_of_every_kind_come_back(folder: Path) -> None:
    assert _truth(np.array([4])) is True
    assert _truth(np.array([3])) is False
    assert _unsigned(np.array([2**64 - 1], np.uint64)) == 2**64 - 1
    assert _unsigned(np.array([-5], np.int8)) == -5
    assert _float(np.array([3], np.float32)) == 1.5
    assert len(list(folder.iterdir())) == 4  # one for each kernel and kind of argument


@pytest.mark.parametrize(("name", "args", "what"), [
    ("_allocates", (3,), "NRT_"),
    ("_raises", (np.array([1]),), "an exception"),
    ("_two", (np.array([1, 2]),), "result"),
])  # fmt: skip
def test_what_cannot_be_kept_is_numbas(folder: Path, name: str, args: tuple[Any, ...], what: str) -> None:
    called = globals()[name]
    assert called(*args) == called.py_func(*args)
    assert any(what in need for need in needs(folder))
    if name == "_raises":
        with pytest.raises(ValueError, match="below 0"):
            called(np.array([-1]))


def test_arrays_with_gaps_are_numbas(folder: Path) -> None:
    assert _truth(np.arange(8)[5::2]) is True
    assert not folder.exists()


def test_without_a_folder_numba_does_all(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    given = arguments()
    assert _numbers(*given) == -4
    assert not folder.exists()


def test_threads_may_call_at_once(folder: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(_numbers(*arguments()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [-4] * 8


def test_a_second_process_does_not_import_numba(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from operators.kernels.radix import sort_order;"
        "order = sort_order([np.array([3, 1, 2], np.uint64)]);"
        "print(order.tolist(), 'numba' in sys.modules)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        )
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in said] == ["[1, 2, 0] True", "[1, 2, 0] False"]
