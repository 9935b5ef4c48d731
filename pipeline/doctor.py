"""`tamis doctor`: what of this machine is fit for a run, and what to do about the rest."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from pipeline import numba_cache
from pipeline.allotment import derived, machine_bytes
from pipeline.engine import usable_cpus
from pipeline.errors import ResourceError
from pipeline.units import nbytes

CORE = ("numpy", "pyarrow", "numba", "pydantic", "pyyaml", "fsspec", "rich", "jinja2")
EXTRAS = {"ray": "ray", "torch": "gpu", "transformers": "gpu", "s3fs": "s3"}
LOW_DISK_BYTES = 5_000_000_000
LOW_SHARED_BYTES = 1_000_000_000
FEW_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. status: ok, warn (some runs will not work) or fail."""

    name: str
    status: str
    text: str


def examine(store: str | None, stream: TextIO) -> int:
    """Prints every finding and gives 0; ResourceError when one has failed.

    store: URL of a store to try, or None for none."""
    checks: list[Callable[[], Iterator[Finding]]] = [packages, devices, machine, caches, limits]
    found = [finding for check in checks for finding in check()]
    if store is not None:
        found += store_findings(store)
    width = max(len(finding.name) for finding in found)
    for finding in found:
        stream.write(f"{finding.status:<4}  {finding.name:<{width}}  {finding.text}\n")
    failed = [finding.name for finding in found if finding.status == "fail"]
    if failed:
        raise ResourceError(f"not fit for a run: {', '.join(failed)}")
    return 0


def packages() -> Iterator[Finding]:
    """The interpreter and the installed versions."""
    status = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Finding("python", status, f"{platform.python_version()} ({sys.executable})")
    for package in CORE:
        found = _version(package)
        yield Finding(package, "ok" if found else "fail", found or f"missing; pip install {package}")
    for package, extra in EXTRAS.items():
        found = _version(package)
        text = found or f"not installed; pip install 'tamis[{extra}]' if you need it"
        yield Finding(package, "ok" if found else "warn", text)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """The GPUs that torch sees."""
    if find_spec("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("cuda", "fail", f"torch does not load: {error}; install it again")
        return
    if not torch.cuda.is_available():
        yield Finding("cuda", "warn", f"none (torch {torch.__version__}); models run on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(f"cuda:{index}", "ok", f"{name}, {nbytes(free)} of {nbytes(total)} free")


def machine() -> Iterator[Finding]:
    """Cores, CPU level and memory."""
    yield Finding("cpu", "ok", f"{usable_cpus()} cores, {platform.machine()}, {cpu_level()}")
    memory = machine_bytes()
    if memory is not None:
        status = "warn" if memory < 2_000_000_000 else "ok"
        each = f"{nbytes(derived(usable_cpus()))} for each of {usable_cpus()} workers unless --memory says so"
        yield Finding("memory", status, f"{nbytes(memory)} that this process may use: {each}")


def cpu_level() -> str:
    """The x86-64 level by the flags of /proc/cpuinfo; results are bit-equal on one level."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            flags = next(
                (set(line.split(":")[1].split()) for line in info if line.startswith("flags")), set()
            )
    except OSError:
        flags = set()
    for level, needed in (
        ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
        ("x86-64-v3", {"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe"}),
        ("x86-64-v2", {"sse4_2", "ssse3", "popcnt", "cx16"}),
    ):
        if needed <= flags:
            return level
    return "level unknown"


def caches() -> Iterator[Finding]:
    """Where compiled kernels and temporary files go."""
    folder = numba_cache.prepare()
    yield Finding("kernel cache", *_writable(folder, "set TAMIS_CACHE to a writable folder"))
    yield Finding(
        "temporary files", *_writable(Path(tempfile.gettempdir()), "set TMPDIR to a writable folder")
    )


def _writable(folder: Path, advice: str) -> tuple[str, str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tamis")
    except OSError as error:
        return "fail", f"{folder}: {error.strerror}; {advice}"
    free = shutil.disk_usage(folder).free
    if free < LOW_DISK_BYTES:
        return "warn", f"{folder}: only {nbytes(free)} free"
    return "ok", f"{folder}: {nbytes(free)} free"


def limits() -> Iterator[Finding]:
    """Open files, processes, and the shared memory that Ray keeps its objects in."""
    try:
        import resource
    except ImportError:
        return
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = files != resource.RLIM_INFINITY and files < FEW_FILES
    shown = "unlimited" if files == resource.RLIM_INFINITY else str(files)
    yield Finding("open files", "warn" if few else "ok", f"{shown}{'; ulimit -n 65536' if few else ''}")
    if _version("ray") and Path("/dev/shm").is_dir():
        size = shutil.disk_usage("/dev/shm").total
        low = size < LOW_SHARED_BYTES
        advice = "; Ray will use the disk instead: docker run --shm-size=4g" if low else ""
        yield Finding("shared memory", "warn" if low else "ok", f"/dev/shm: {nbytes(size)}{advice}")


def store_findings(url: str) -> Iterator[Finding]:
    """Whether the store takes, gives back and deletes a small object."""
    from pipeline.store import Store

    name, data = f"doctor/{uuid.uuid4().hex}", uuid.uuid4().bytes
    try:
        store = Store(url)
        if not store.commit(name, data) or store.commit(name, b"second"):
            yield Finding("store", "fail", f"{url}: two writers of one name both won; choose another store")
            return
        back = store.read(name)
        store.delete(name)
    except Exception as error:  # every client library of an object store has its own
        yield Finding("store", "fail", f"{url}: {type(error).__name__}: {error}")
        return
    status = "ok" if back == data else "fail"
    free = f", {nbytes(shutil.disk_usage(store.path('')).free)} free" if store.is_local else ""
    yield Finding(
        "store", status, f"{url}: reads and writes{free}" if back == data else f"{url}: gives other bytes"
    )
