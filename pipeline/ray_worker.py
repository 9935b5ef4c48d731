"""What runs on a Ray worker: a task or a model, its result or its exception as bytes."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray

from operators.kernels import room
from pipeline import memory, numba_cache
from pipeline.engine import call, packed
from pipeline.errors import DataError, ResourceError
from pipeline.ray_gate import node_name

if TYPE_CHECKING:
    from pipeline.store import Store

KEPT_CONTEXTS = 2
shown: dict[str, str] | None = None  # the software that this process showed (see ray_gate)


@dataclass(frozen=True)
class Token:
    """A file that the driver wrote to the store: a worker that cannot read it has another store."""

    store: Store
    name: str
    text: bytes

    def check(self) -> None:
        """Raises ResourceError unless this process reads the token."""
        try:
            found = self.store.read(self.name)
        except Exception as error:
            cause: Exception | None = error
            why = f"{type(error).__name__}: {error}"
        else:
            if found == self.text:
                return
            cause, why = None, "the file is another one"
        raise ResourceError(
            f"node {node_name()} does not share the store "
            f"{self.store.url}: it cannot read what the driver wrote there ({why}); give a store that "
            "every node mounts or an object store, for example --store s3://bucket/prefix"
        ) from cause


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the driver."""

    kind: str
    message: str
    remote: str  # the worker's traceback
    pickled: bytes | None

    def exception(self) -> BaseException:
        """The exception as it was, or a DataError with its text where it cannot be pickled."""
        error: BaseException = DataError(f"{self.kind}: {self.message}")
        if self.pickled is not None:
            try:
                error = pickle.loads(self.pickled)
            except Exception as unreadable:
                error.add_note(f"(the exception itself did not survive the way here: {unreadable!r})")
        error.add_note(self.remote.rstrip())
        return error


def failure(error: BaseException) -> bytes:
    """An exception, pickled so that the driver can always read it."""
    pickled: bytes | None = None
    try:
        pickled = ray.cloudpickle.dumps(error)  # type: ignore[no-untyped-call]
        pickle.loads(pickled)
    except Exception:
        pickled = None
    where = f"on {node_name()}, process {os.getpid()}:\n"
    trace = "".join(traceback.format_exception(error))
    return pickle.dumps(Failure(type(error).__qualname__, str(error), where + trace, pickled))


@dataclass(frozen=True)
class Bundle:
    """What all tasks of a run share; travels once to a node, is unpickled once by a worker."""

    fn: Callable[..., Any]
    context: Any
    load: Callable[..., Any] | None = None
    token: Token | None = None
    memory: int = room.UNBOUNDED  # that a task may take


# By the reference's name: to keep the reference itself would keep the object in the cluster's memory.
_kept: dict[str, Bundle] = {}


def run_task(held: list[ray.ObjectRef[Bundle]], task: Any) -> bytes:
    """One task. `held` has the bundle's reference in a list, so that Ray does not unpickle it each time."""
    try:
        bundle = _bundle(held[0], threads=1)
        room.allow(bundle.memory)
        return packed(bundle.fn, call(bundle.fn, bundle.context, task))
    except Exception as error:
        return failure(error)


class ModelActor:
    """A process that keeps a model. What goes wrong while it loads is the answer to `loaded`."""

    def __init__(self, held: list[ray.ObjectRef[Bundle]], threads: int) -> None:
        self._failed: bytes | None = None
        try:
            self._bundle = _bundle(held[0], threads)
            room.allow(self._bundle.memory)
            assert self._bundle.load is not None
            self._model = call(self._bundle.load, self._bundle.context)
        except Exception as error:
            self._failed = failure(error)

    def loaded(self) -> bytes:
        """None, or why the model did not load."""
        return self._failed or pickle.dumps(None)

    def run_task(self, task: Any) -> bytes:
        """One task with the model."""
        try:
            fn = self._bundle.fn
            return packed(fn, call(fn, self._model, self._bundle.context, task))
        except Exception as error:
            return failure(error)


def check_token(token: Token) -> bytes:
    """The answer of a node to whether it shares the store."""
    try:
        token.check()
        return pickle.dumps(None)
    except Exception as error:
        return failure(error)


def _bundle(ref: ray.ObjectRef[Bundle], threads: int) -> Bundle:
    name = ref.hex()
    if name not in _kept:
        pa.set_cpu_count(threads)
        numba_cache.prepare()
        bundle: Bundle = ray.get(ref)
        memory.keep_freed(bundle.memory)
        if bundle.token is not None:  # also on a node that joined after the driver had looked at all
            bundle.token.check()
        while len(_kept) >= KEPT_CONTEXTS:
            del _kept[next(iter(_kept))]
        _kept[name] = bundle
    return _kept[name]
