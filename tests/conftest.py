"""Puts tests/ on the path, so that tests can import its helper modules; one Ray for the whole session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


settings.register_profile("tamis", deadline=None, derandomize=True)
settings.load_profile("tamis")
