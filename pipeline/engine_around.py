"""An engine around another one, for whoever watches, counts or disturbs what it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.engine import C, Engine, M, R, Resources, T

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.store import Store


class EngineAround:
    """Passes everything on; who is derived from it says what is otherwise."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name: str = engine.name

    @property
    def fetched_bytes(self) -> int:
        """Of the other engine, as all that follows."""
        return self.engine.fetched_bytes

    @property
    def workers(self) -> int:
        return self.engine.workers

    @property
    def memory(self) -> int:
        return self.engine.memory

    def run(self, fn: Callable[[C, T], R], context: C, tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        return self.engine.run(fn, context, tasks)

    def score(
        self,
        load: Callable[[C], M],
        fn: Callable[[M, C, T], R],
        context: C,
        tasks: Sequence[T],
        resources: Resources,
    ) -> Iterator[tuple[int, R]]:
        return self.engine.score(load, fn, context, tasks, resources)

    def check_store(self, store: Store) -> None:
        self.engine.check_store(store)

    def close(self) -> None:
        self.engine.close()
