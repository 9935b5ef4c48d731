"""A pool of Ray actors that keep a model each, fed with at most two tasks at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline import ray_cluster, ray_gate
from pipeline.engine import SHARING, Resources
from pipeline.errors import ConfigError, ResourceError
from pipeline.ray_replies import LOADING, Deaths, Lost, Replies, pickled, ready
from pipeline.ray_worker import Bundle

QUEUED = SHARING  # one that runs and one that waits (on a GPU: prepares), so that nothing idles between tasks
START_S = 900.0  # how long a cluster may take to bring up the first model: nodes, downloads, loading

_actor: Any = ray.remote(max_restarts=0, max_task_retries=0)(ray_gate.Model)


@dataclass(frozen=True)
class Share:
    """What one of `copies` actors gets."""

    copies: int
    cpus: float
    gpus: float


def share(resources: Resources, workers: int) -> Share:
    """One actor per GPU (`gpus` may be a fraction), or one per node where there is none, unless
    `resources.workers` says how many. Raises ConfigError."""
    gpus = resources.gpus
    if gpus > 1 and gpus != int(gpus):
        raise ConfigError(f"resources.gpus is {gpus}; above 1 it must be whole")
    there = ray_cluster.capacity("GPU")
    if not gpus and there and resources.device in (None, "auto", "cuda"):
        gpus = 1.0
    if gpus:
        return Share(resources.workers or max(1, int(there / gpus)), 1.0, gpus)
    copies = resources.workers or max(1, min(workers, len(ray_cluster.cpu_nodes())))
    cpus = min(workers / copies, ray_cluster.most_cpus())
    return Share(copies, float(int(cpus)) if cpus > 1 else cpus, 0.0)


@dataclass(eq=False)
class Seat:
    """An actor and what it has to do, oldest first. `loading` until its model is there."""

    actor: Any
    loading: ray.ObjectRef[bytes] | None
    queue: dict[ray.ObjectRef[bytes], int] = field(default_factory=dict)


class Models:
    """The actors of one run. A death costs what its actor had queued, which others do again."""

    def __init__(
        self,
        here: dict[str, str],
        held: list[ray.ObjectRef[Bundle]],
        resources: Resources,
        private: bool,
        replies: Replies,
        what: str,
    ) -> None:
        self._here, self._held, self._resources, self._private = here, held, resources, private
        self._replies, self._what = replies, what
        self._seats: list[Seat] = []
        self._begun = time.monotonic()

    def results(self, tasks: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
        """Yields (task number, result), each exactly once."""
        deaths = Deaths(self._what, tasks)
        waiting = list(range(len(tasks)))[::-1]
        left = len(tasks)
        while left:
            self._grow(left, workers)
            self._feed(waiting, tasks)
            owners = {ref: seat for seat in self._seats for ref in (seat.loading, *seat.queue) if ref}
            for ref in ready(owners):
                seat = owners[ref]
                if seat not in self._seats:  # lost a moment ago, with everything it had
                    continue
                outcome = self._replies.fetch(ref)
                if isinstance(outcome, Lost):
                    waiting += self._lose(seat, deaths, outcome)
                elif ref is seat.loading:
                    seat.loading = None
                    deaths.forget(LOADING)
                else:
                    left -= 1
                    yield seat.queue.pop(ref), outcome

    def _grow(self, left: int, workers: int) -> None:
        """As many actors as the cluster has room for now, and replacements of the dead."""
        wanted = share(self._resources, workers)
        if wanted.gpus > ray_cluster.capacity("GPU") and (self._private or self._waited_long()):
            raise ResourceError(
                f"{self._what} wants {wanted.gpus:g} GPUs a copy; the cluster has "
                f"{ray_cluster.capacity('GPU'):g}: set `resources: {{gpus: 0}}` or add a GPU node"
            )
        if self._waited_long():
            raise ResourceError(
                f"{self._what}: no model was loaded within {START_S:g} s; look at `ray status` for what the "
                f"cluster lacks ({wanted.cpus:g} CPUs and {wanted.gpus:g} GPUs for each of {wanted.copies})"
            )
        while len(self._seats) < min(wanted.copies, left):
            sharing = SHARING if wanted.gpus else 1
            options = {"num_cpus": wanted.cpus, "num_gpus": wanted.gpus, "max_concurrency": sharing}
            actor = _actor.options(**options).remote(self._here, self._held, max(1, int(wanted.cpus)))
            self._seats.append(Seat(actor, actor.loaded.remote()))

    def _waited_long(self) -> bool:
        if any(seat.loading is None for seat in self._seats):
            self._begun = time.monotonic()
        return time.monotonic() - self._begun > START_S

    def _feed(self, waiting: list[int], tasks: Sequence[Any]) -> None:
        """Tasks for actors whose model is there, the idle ones first."""
        for depth in range(QUEUED):
            for seat in self._seats:
                if waiting and seat.loading is None and len(seat.queue) == depth:
                    index = waiting.pop()
                    seat.queue[seat.actor.run_task.remote(pickled(tasks[index]))] = index

    def _lose(self, seat: Seat, deaths: Deaths, lost: Lost) -> list[int]:
        """Gives an actor up. The task that it was at counts the death; returns what is to do again."""
        self._seats.remove(seat)
        ray.kill(seat.actor)
        again = list(seat.queue.values())
        if seat.loading is not None or again:
            deaths.add(again[0] if again else LOADING, lost)
        return again[::-1]

    def close(self) -> None:
        """Ends the actors."""
        for seat in self._seats:
            if ray.is_initialized():
                ray.kill(seat.actor)
