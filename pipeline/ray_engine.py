"""The engine on Ray: Core tasks and model actors that Ray places; this process only hands them out."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from operators.kernels import room
from pipeline import ray_cluster, ray_gate
from pipeline.engine import C, M, R, Resources, T, title
from pipeline.errors import ResourceError
from pipeline.ray_models import Models
from pipeline.ray_replies import TICK_S, Deaths, Lost, Replies, await_all, interrupted, opened, pickled, ready
from pipeline.ray_worker import Bundle, Failure, Token

if TYPE_CHECKING:
    from pipeline.store import Store

CHECK_S = 120.0  # how long a node may take to start a worker that looks at the store

# Its text goes along, as a node may have another one.
ray.cloudpickle.register_pickle_by_value(ray_gate)  # type: ignore[no-untyped-call]
# Ray's own retries stay off: kills for want of memory it would repeat silently and for ever.
_task: Any = ray.remote(max_retries=0)(ray_gate.run_task)
_show: Any = ray.remote(max_retries=0, num_cpus=0)(ray_gate.show)
_check: Any = ray.remote(max_retries=0, num_cpus=0)(ray_gate.check_token)


class RayEngine:
    """Idempotent tasks over any number of machines."""

    name: str = "ray"

    def __init__(
        self, workers: int | None = None, address: str | None = None, memory: int | None = None
    ) -> None:
        self._entered, self._private = ray_cluster.connect(workers, address)
        try:
            self._memory = memory or ray_cluster.memory_for_each()
            self._claim = {} if memory is None else ray_cluster.claim(memory)
        except BaseException:
            self._leave()
            raise
        self._room = room.allowed()
        room.allow(self._memory)
        self._limit = workers
        self._token: Token | None = None
        self._software = ray_gate.software()
        self._replies = Replies()

    @property
    def fetched_bytes(self) -> int:
        """The pickled results that reached this process so far."""
        return self._replies.fetched_bytes

    @property
    def workers(self) -> int:
        """Tasks that may run at one time: the cluster's CPUs now, or fewer where `workers` or the declared
        memory says so."""
        places = max(1, ray_cluster.places(self._claim.get("memory")))
        return min(places, self._limit or places)

    @property
    def memory(self) -> int:
        """Bytes for each of them."""
        return self._memory

    def run(self, fn: Callable[[C, T], R], context: C, tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yields (i, fn(context, tasks[i])) as they finish (see Engine.run).

        When it ends early, what is handed out (two tasks a CPU) has a moment to end; what takes longer ends
        with this process's stay in the cluster."""
        if not len(tasks):
            return
        held = [ray.put(Bundle(fn, context, token=self._token, memory=self._memory))]
        deaths = Deaths(title(fn), tasks)
        waiting = iter(range(len(tasks)))
        pending: dict[ray.ObjectRef[bytes], int] = {}
        window, task = _Window(self), _task.options(**self._claim)
        try:
            while True:
                while len(pending) < window.size() and (index := next(waiting, None)) is not None:
                    pending[task.remote(self._software, held, pickled(tasks[index]))] = index
                if not pending:
                    return
                for ref in ready(pending):
                    index, outcome = pending.pop(ref), self._replies.fetch(ref)
                    if isinstance(outcome, Lost):
                        # More CPUs each time, so that fewer tasks share its node's memory.
                        cpus = min(2.0 ** deaths.add(index, outcome), ray_cluster.most_cpus())
                        again = _task.options(num_cpus=cpus, **self._claim)
                        pending[again.remote(self._software, held, pickled(tasks[index]))] = index
                    else:
                        yield index, outcome
        except KeyboardInterrupt:
            raise interrupted() from None
        finally:
            await_all(pending)

    def score(
        self,
        load: Callable[[C], M],
        fn: Callable[[M, C, T], R],
        context: C,
        tasks: Sequence[T],
        resources: Resources,
    ) -> Iterator[tuple[int, R]]:
        """Yields (i, fn(model, context, tasks[i])) from actors: one per GPU, or one per node without;
        `resources` says otherwise (see Engine.score)."""
        if not len(tasks):
            return
        held = [ray.put(Bundle(fn, context, load, self._token, self._memory))]
        models = Models(self._software, held, resources, self._private, self._replies, title(fn))
        try:
            yield from models.results(tasks, self.workers)
        except KeyboardInterrupt:
            raise interrupted() from None
        finally:
            models.close()

    def check_store(self, store: Store) -> None:
        """Every node shows the same software and reads a token that this process writes; workers of nodes
        that join later do both when they start.

        Raises ResourceError that names the node, and what differs or the store."""
        if store.url.startswith("memory:"):
            raise ResourceError(
                f"the store {store.url} is this process's memory, which no Ray worker sees; use the local "
                "engine, a folder that all nodes mount, or an object store"
            )
        self._forget_token()
        name = f"tmp/{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(16)}"
        token = Token(store, name, secrets.token_bytes(32))
        if not store.commit(name, token.text):
            raise ResourceError(f"cannot write to the store {store.url}: {name} is there already")
        self._token = token
        self._compare()
        packed = pickled(token)
        for answer in self._ask_all(_check, self._software, packed):
            if isinstance(value := opened(answer), Failure):
                raise value.exception()

    def _compare(self) -> None:
        """Every node shows its software; what the driver lacks is taken from the first node that has it."""
        for there in self._ask_all(_show):
            node = there.pop("node")
            if refused := ray_gate.refusal(there, self._software, node):
                raise ResourceError(refused)
            self._software = there | self._software

    def _ask_all(self, question: Any, *arguments: Any) -> Iterator[Any]:
        """The answers of all nodes. Raises ResourceError for one that does not answer."""
        asked = [
            (node["NodeManagerAddress"], _ask(node, question, arguments))
            for node in ray_cluster.alive_nodes()
        ]
        for address, ref in asked:
            try:
                yield ray.get(ref, timeout=CHECK_S)
            except RayError as error:
                raise ResourceError(
                    f"node {address} did not say within {CHECK_S:g} s which tamis it runs and whether it "
                    f"shares the store: {error}"
                ) from error

    def _forget_token(self) -> None:
        if self._token is not None:
            with contextlib.suppress(OSError):
                self._token.store.delete(self._token.name)
            self._token = None

    def close(self) -> None:
        """Leaves the cluster if this engine entered it, which ends a private one."""
        self._forget_token()
        room.allow(self._room)
        self._leave()

    def _leave(self) -> None:
        if self._entered:
            ray.shutdown()


def _ask(node: dict[str, object], question: Any, arguments: tuple[Any, ...]) -> ray.ObjectRef[Any]:
    there = NodeAffinitySchedulingStrategy(node_id=str(node["NodeID"]), soft=False)
    ref: ray.ObjectRef[Any] = question.options(scheduling_strategy=there).remote(*arguments)
    return ref


class _Window:
    """How many tasks to have in flight: two per CPU, so that a worker never waits for this process;
    exactly `workers` where the user bounds them on a cluster with more. Follows an autoscaler."""

    def __init__(self, engine: RayEngine) -> None:
        self._engine = engine
        self._read = -TICK_S
        self._size = 0

    def size(self) -> int:
        if time.monotonic() - self._read >= TICK_S or not self._size:
            workers = self._engine.workers
            self._size = workers if workers < ray_cluster.capacity("CPU") else 2 * workers
            self._read = time.monotonic()
        return self._size
