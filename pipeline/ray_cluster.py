"""The way into a Ray cluster: which one, started or joined, and what it has."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.allotment import FLOOR
from pipeline.engine import usable_cpus
from pipeline.errors import ConfigError, ResourceError
from pipeline.units import nbytes

PACKAGES = ("operators", "gpu_ops", "pipeline", "workflows")
OBJECT_STORE_BYTES = 256 << 20  # contexts only: data travels through the store
REACH_S = 5.0
BASE_BYTES = 400 << 20  # that a worker's process stands on: interpreter, packages, compiled kernels


def connect(workers: int | None, address: str | None) -> tuple[bool, bool]:
    """Joins the cluster at `address`, or starts a private one: (whether this call did either, private).

    None means the cluster this process is in, else $RAY_ADDRESS, else one that `ray start` left on this
    machine, else a private one. Raises ConfigError, ResourceError when there is no way in."""
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise ConfigError(f"this process already is in the Ray cluster {here}, and cannot join {address}")
        return False, False
    address = address or os.environ.get("RAY_ADDRESS") or _left_by_ray_start() or "local"
    if address == "local":
        _start(workers or usable_cpus())
    else:
        _join(address)
    return True, address == "local"


def _start(workers: int) -> None:
    """A private cluster on this machine, gone with the process."""
    with _environment(_private_settings()):
        try:
            _init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises nothing narrower
            ray.shutdown()
            raise ResourceError(
                f"a private Ray did not come up on this machine ({error}): run again when it is less "
                "busy, or use the local engine"
            ) from error


def _init(**settings: Any) -> None:
    """Ray, but not its answer to SIGTERM, which ends the process with code 15 and says nothing."""
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    try:
        ray.init(**settings)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _private_settings() -> dict[str, str]:
    """A secret of its own, as Ray would write one to HOME, which may be read-only; no reports to
    Ray's makers; and this process's import path, for what it added by hand."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not os.environ.get("RAY_AUTH_MODE"):
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    python = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [p for p in sys.path if os.path.isdir(p) and not p.startswith(python)]
    settings["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(own))
    return settings


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _join(address: str) -> None:
    """A cluster that runs already; tamis travels along where its nodes have none."""
    _reach(address)
    try:
        _init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        # A job of Ray's job server brought its folder, which a second `ray.init` would take from under it.
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ and not _all_have_tamis():
            ray.shutdown()
            with tempfile.TemporaryDirectory(prefix="tamis-") as folder:
                _copy_packages(Path(folder))
                _init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"working_dir": folder},
                )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ResourceError(f"cannot join the Ray cluster at {address}: {error}") from error


def _copy_packages(folder: Path) -> None:
    """tamis in one folder: sent as modules its packages would lie apart, and operators not be found."""
    for package in PACKAGES:
        there = Path(str(find_spec(package).origin)).parent  # type: ignore[union-attr]
        shutil.copytree(there, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def _reach(address: str) -> None:
    """Ray itself tries a dead address for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except OSError as error:
        raise ResourceError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, unset "
            "RAY_ADDRESS, or give --address"
        ) from error


def _left_by_ray_start() -> str | None:
    """The address that `ray start` noted on this machine, if somebody listens there: a note outlives
    its cluster."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    try:
        address = note.read_text().strip()
        _reach(address)
    except (OSError, ResourceError):
        return None
    return address or None


def _all_have_tamis() -> bool:
    """Whether the workers of every node find our packages. The probe travels by value, as it could not be
    imported; another version than ours is refused later, by name (see ray_gate)."""

    def probe(names: tuple[str, ...]) -> bool:
        from importlib.util import find_spec

        return all(find_spec(name) is not None for name in names)

    ask: Any = ray.remote(num_cpus=0, max_retries=0)(probe)
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=True) for node in alive_nodes()]
    return all(ray.get([ask.options(scheduling_strategy=node).remote(PACKAGES) for node in there]))


def alive_nodes() -> list[dict[str, Any]]:
    """The nodes that are up: NodeID, NodeManagerAddress, Resources."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def cpu_nodes() -> list[float]:
    """The CPUs of each node that has any."""
    return [float(cpus) for node in alive_nodes() if (cpus := node["Resources"].get("CPU", 0))]


def _memories() -> list[tuple[float, int]]:
    """(CPUs, bytes that Ray may give to tasks) of each node that has CPUs."""
    found = (node["Resources"] for node in alive_nodes())
    return [(float(r["CPU"]), int(r.get("memory", 0))) for r in found if r.get("CPU", 0)]


def memory_for_each() -> int:
    """A worker's budget where none is declared: what the leanest node has for each CPU."""
    shares = [size / max(1.0, cpus) for cpus, size in _memories() if size]
    return max(FLOOR, int(min(shares, default=2.0 * BASE_BYTES)) - BASE_BYTES)


def claim(memory: int) -> dict[str, int]:
    """What a task asks of Ray, so that no node gets more of them than it has memory for. Raises ConfigError
    where not even one fits; a cluster that has yet to start its nodes is not judged."""
    most = max((size for _, size in _memories()), default=memory + BASE_BYTES)
    if memory + BASE_BYTES > most:
        raise ConfigError(
            f"memory {nbytes(memory)} a worker, and {nbytes(BASE_BYTES)} that its process stands on, is more "
            f"than any node of the Ray cluster gives ({nbytes(most)}): give at most "
            f"{nbytes(max(0, most - BASE_BYTES))}, or add a node with more memory"
        )
    return {"memory": memory + BASE_BYTES}


def places(claimed: int | None) -> int:
    """Tasks that the cluster runs at one time, each with a CPU and so much memory."""
    if claimed is None:
        return int(capacity("CPU"))
    return sum(min(int(cpus), size // claimed) for cpus, size in _memories())


def most_cpus() -> float:
    """The CPUs of the largest node."""
    return max(cpu_nodes(), default=1.0)


def capacity(kind: str) -> float:
    """What all nodes have together of "CPU" or "GPU" now; an autoscaler may change it."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return there.get(kind, 0.0)
