"""Reads batches before they are needed, in threads; what is read does not depend on it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Container
from concurrent.futures import Future, ThreadPoolExecutor

from gpu_ops.trainer.batch import Batch, Feed


class Ahead:
    """`read(number)` for whoever asks, with the next `depth` numbers, those that are skipped left out, in the
    making. Each thread reads from a copy of the feed: a feed may set its own attributes as it goes, but not
    change what they hold."""

    def __init__(
        self, feed: Feed, place: Callable[[int], tuple[int, int, int]], skipped: Container[int], workers: int
    ) -> None:
        self._feed, self._place, self._skipped = feed, place, skipped
        self._depth = 2 * workers
        self._pool = ThreadPoolExecutor(workers, "read-ahead") if workers else None
        self._own = threading.local()
        self._coming: dict[int, Future[Batch]] = {}
        self._latest = -1

    def read(self, number: int) -> Batch:
        """The batch of that number."""
        if self._pool is None:
            return self._feed.batch(*self._place(number))
        found = self._coming.pop(number, None)
        if number > self._latest:  # those that are read again are behind it
            self._latest = number
            self._start(number + 1)
        return self._read(number) if found is None else found.result()

    @property
    def coming(self) -> set[int]:
        """The numbers that are in the making."""
        return set(self._coming)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, number: int) -> None:
        assert self._pool is not None
        wanted: list[int] = []
        while len(wanted) < self._depth:
            if number not in self._skipped:
                wanted.append(number)
            number += 1
        # What was made for nothing, when batches were skipped, goes.
        self._coming = {n: self._coming.get(n) or self._pool.submit(self._read, n) for n in wanted}

    def _read(self, number: int) -> Batch:
        if not hasattr(self._own, "feed"):
            self._own.feed = copy.copy(self._feed)
        batch: Batch = self._own.feed.batch(*self._place(number))
        return batch
