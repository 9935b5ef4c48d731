"""Zombies: attempts of a task that come back late with other bytes, after the task has been done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import Artifact
from pipeline.engine import Engine, Resources
from pipeline.engine_around import EngineAround
from pipeline.store import Store


class LateStore(Store):
    """The store as a zombie sees it: just before its first write the other attempt begins and ends,
    and all that it writes is wrong (no rows at all, zeros)."""

    def __init__(self, store: Store, other: Callable[[], None]) -> None:
        super().__init__(store.url)
        self._other, self.woken = other, False

    def _wake(self) -> None:
        if not self.woken:
            self.woken = True
            self._other()

    def put_batches(
        self, folder: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
    ) -> dict[str, Any]:
        """Writes no rows."""
        self._wake()
        return super().put_batches(folder, schema, iter(()))

    def put_arrays(self, folder: str, arrays: Artifact) -> dict[str, Any]:
        """Writes zeros."""
        self._wake()
        return super().put_arrays(folder, {name: np.zeros_like(array) for name, array in arrays.items()})

    def commit(self, rel: str, data: bytes) -> bool:
        self._wake()
        return super().commit(rel, data)


class ZombieEngine(EngineAround):
    """An engine on which every task has two attempts: a zombie, and in the midst of it the real one."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.zombies = 0

    def run(self, fn: Callable[..., Any], context: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yields what the real attempts return."""
        for index, task in enumerate(tasks):
            yield index, self._twice(fn, context, task)

    def score(
        self,
        load: Callable[..., Any],
        fn: Callable[..., Any],
        context: Any,
        tasks: Sequence[Any],
        resources: Resources,
    ) -> Iterator[tuple[int, Any]]:
        """The same with a model."""
        model = load(context)
        for index, task in enumerate(tasks):
            yield index, self._twice(lambda *arguments: fn(model, *arguments), context, task)

    def _twice(self, fn: Callable[..., Any], context: Any, task: Any) -> Any:
        real: list[Any] = []
        late = LateStore(context.store, lambda: real.append(fn(context, task)))
        result = fn(replace(context, store=late), task)
        self.zombies += late.woken
        return real[0] if real else result
