"""Puts tests/ on the path, so that tests can import its helper modules; one Ray for the whole session."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pipeline.engine import Engine

TESTS = Path(__file__).parent
# The root too: else the folder tests/operators would be taken for the package `operators`.
sys.path[:0] = [str(TESTS.parent), str(TESTS)]


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[Engine]:
    """A private Ray with 2 CPUs; tests that take it bear `@pytest.mark.ray`."""
    pytest.importorskip("ray")
    from pipeline.engine import make_engine

    engine = make_engine("ray", workers=2, address="local")
    yield engine
    engine.close()


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[Path], None]]:
    """ctrl_c(folder) presses Ctrl-C as soon as there is something in that folder."""
    pressers = []

    def press(folder: Path) -> None:
        while not os.listdir(folder):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    def begin(folder: Path) -> None:
        pressers.append(threading.Thread(target=press, args=[folder]))
        pressers[-1].start()

    # A shell that starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield begin
    for presser in pressers:
        presser.join()
    signal.signal(signal.SIGINT, before)


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist that dies ends the run: with `--dist loadfile` it may hang for ever else."""
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"


settings.register_profile("tamis", deadline=None, derandomize=True)
settings.load_profile("tamis")
