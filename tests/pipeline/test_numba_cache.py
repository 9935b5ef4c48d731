"""Where compiled kernels go: the order of folders, strange homes, and warming once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import numba_cache


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No folder chosen yet, and numba's own setting back as it was afterwards."""
    numba_cache.root.cache_clear()
    for name in ("TAMIS_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if "numba.core.config" in sys.modules:
        config = sys.modules["numba.core.config"]
        monkeypatch.setattr(config, "CACHE_DIR", config.CACHE_DIR)
    yield monkeypatch
    numba_cache.root.cache_clear()


def test_the_users_choice_stays(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert numba_cache.prepare() == tmp_path / "mine"


def test_tamis_cache_comes_first(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("TAMIS_CACHE", str(tmp_path / "a"))
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    folder = numba_cache.prepare()
    assert folder.parent == tmp_path / "a"
    assert folder.name.startswith("numba-")
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)
    assert numba_cache.prepare() == folder


def test_a_home_that_cannot_be_written_falls_back_to_a_private_folder(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    fresh.setenv("HOME", str(tmp_path / "file"))
    folder = numba_cache.root()
    assert str(tmp_path) not in str(folder)
    assert folder.stat().st_uid == os.getuid()
    assert os.access(folder, os.W_OK)


def test_without_home(fresh: pytest.MonkeyPatch) -> None:
    fresh.delenv("HOME")
    assert os.access(numba_cache.root(), os.W_OK)


def test_a_folder_of_somebody_else_is_refused(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(os, "getuid", lambda: 1 + tmp_path.stat().st_uid)
    assert not numba_cache._usable(tmp_path)


def test_kernels_are_cached_where_it_says(tmp_path: Path) -> None:
    code = (
        "from pipeline.numba_cache import prepare; prepare();"
        "import numpy as np; from operators.kernels.counter import mix64;"
        "from numba import config; print(config.CACHE_DIR)"
    )
    environment = {**os.environ, "TAMIS_CACHE": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tmp_path / "numba-"))


def test_one_warms_and_the_others_wait(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("TAMIS_CACHE", str(tmp_path))

    def warm(_: int) -> bool:
        with numba_cache.warm_once("kernels") as first:
            return first

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(warm, range(8))) == 1


def warm_badly() -> None:
    with numba_cache.warm_once("kernels") as first:
        assert first
        raise ZeroDivisionError


def test_a_failed_warming_is_tried_again(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("TAMIS_CACHE", str(tmp_path))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            warm_badly()


def test_a_source_is_kept_once(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setenv("TAMIS_CACHE", str(tmp_path))
    path = Path(numba_cache.keep_source("op.py", "x = 1\n", "d1"))
    before = path.stat().st_mtime_ns
    assert numba_cache.keep_source("op.py", "x = 1\n", "d1") == str(path)
    assert (path.read_text(), path.stat().st_mtime_ns) == ("x = 1\n", before)
    assert [file.name for file in path.parent.iterdir()] == ["op.py"]
