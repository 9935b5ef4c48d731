"""Leaves pandas out of a process that does not ask for it: pyarrow imports it at the first array."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


def leave_out() -> None:
    """Answers pyarrow's first look for pandas with no (0.3 CPU-seconds and 40 MB less); whoever
    imports pandas later gets it, and pyarrow is told, so that `to_pandas` and `pa.array` know it."""
    if "pandas" in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    pa.array([])
    finder.refuses = False


class _Finder(MetaPathFinder):
    """Refuses pandas first, then finds it and says so to pyarrow."""

    refuses = True

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "pandas":
            return None
        if self.refuses:
            raise ModuleNotFoundError("pandas is not looked for yet", name=name)
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                pa.table({}).to_pandas()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
