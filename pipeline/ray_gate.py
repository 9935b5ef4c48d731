"""What a Ray worker runs before it touches tamis: it shows which software it has; another one is refused.

This module travels by value (see `ray_engine`), so that the driver's text of it runs also on a node with
another tamis or with none. It knows the standard library; tamis is imported when the node has shown that it
has the same one."""

from __future__ import annotations

import hashlib
import pickle
import platform
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REFUSED = b"refused: "  # begins an answer; no pickle begins so
PACKAGES = ("operators", "gpu_ops", "pipeline")  # whose code decides which bytes a task writes
# Whose versions decide it too. A node may lack what only other nodes need (torch on a node without GPU).
LIBRARIES = (
    "numpy", "pyarrow", "numba", "llvmlite", "torch", "transformers", "tokenizers", "safetensors", "peft",
    "sentence-transformers", "faiss-cpu", "scikit-learn", "scipy", "py3langid", "rapidfuzz",
)  # fmt: skip


def software() -> dict[str, str]:
    """What this process would compute with: the hash of tamis's code, Python, the versions of libraries."""
    found = {"tamis": code(), "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]  # torch's build (+cpu, +cu126) may differ
        except PackageNotFoundError:
            continue
    return found


def code() -> str:
    """A hash of the text of tamis's packages, wherever they lie; empty where one is missing."""
    digest = hashlib.blake2b(digest_size=8)
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            return ""
        top = Path(spec.origin).parent
        for path in sorted(top.rglob("*.py")):
            text = path.read_bytes()
            digest.update(f"{package}/{path.relative_to(top).as_posix()} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def differences(there: dict[str, str], here: dict[str, str]) -> str:
    """What a node has otherwise than the driver, in words; empty where the two may work together."""
    if not there["tamis"]:
        return "it has no tamis"
    found = []
    for name, wanted in here.items():
        has = there.get(name, wanted)
        if name == "Python":  # a patch release computes the same
            has, wanted = has.rpartition(".")[0], wanted.rpartition(".")[0]
        if has != wanted:
            kind = "tamis with code" if name == "tamis" else name
            found.append(f"it has {kind} {has}, the driver {wanted}")
    return "; ".join(found)


def refusal(there: dict[str, str], here: dict[str, str], node: str) -> str:
    """Why a node may not take part, and what to do about it; empty where it may."""
    found = differences(there, here)
    if not found:
        return ""
    return (
        f"node {node} runs other software than the driver: {found}. A row must not depend on the node that "
        "computes it: install the same on every node (one image), or take tamis off all nodes, which then "
        "get the driver's; then run again"
    )


def node_name() -> str:
    """This node as messages name it."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"  # type: ignore[no-untyped-call]


def enter(here: dict[str, str]) -> Any:
    """tamis's own module for workers, or why not; looks once in a process."""
    worker: Any = sys.modules.get("pipeline.ray_worker")
    if worker is None or worker.shown != here:
        refused = refusal(software(), here, node_name())
        if refused:
            return REFUSED + refused.encode()
        from pipeline import ray_worker as worker

        worker.shown = here
    return worker


def show() -> dict[str, str]:
    """A node's answer when the driver asks all, before work starts."""
    return software() | {"node": node_name()}


def check_token(here: dict[str, str], token: bytes) -> bytes:
    """Whether a node shares the store."""
    worker = enter(here)
    return worker if isinstance(worker, bytes) else bytes(worker.check_token(pickle.loads(token)))


def run_task(here: dict[str, str], held: list[Any], task: bytes) -> bytes:
    """One task, also on a node that joined after the driver had asked all."""
    worker = enter(here)
    return worker if isinstance(worker, bytes) else bytes(worker.run_task(held, pickle.loads(task)))


class Model:
    """A process that keeps a model."""

    def __init__(self, here: dict[str, str], held: list[Any], threads: int) -> None:
        worker = enter(here)
        self._refused = worker if isinstance(worker, bytes) else b""
        self._model: Any = None if self._refused else worker.ModelActor(held, threads)

    def loaded(self) -> bytes:
        """None, or why the model did not load."""
        return self._refused or bytes(self._model.loaded())

    def run_task(self, task: bytes) -> bytes:
        """One task with the model."""
        return bytes(self._model.run_task(pickle.loads(task)))
