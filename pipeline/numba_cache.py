"""Where compiled kernels are kept: a writable folder for this version and CPU, warmed once."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


def prepare() -> Path:
    """Points numba at a writable folder unless the user did; call it before numba is imported.

    The first of $TAMIS_CACHE, $XDG_CACHE_HOME/tamis, ~/.cache/tamis and a private temporary folder
    that this process may write to. Imports neither numba nor numpy. A worker calls it as well."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if not chosen:
        chosen = str(root() / f"numba-{_kernels()}-{_cpu()}")
        os.environ["NUMBA_CACHE_DIR"] = chosen
        if "numba.core.config" in sys.modules:
            sys.modules["numba.core.config"].CACHE_DIR = chosen  # type: ignore[attr-defined]
    return Path(chosen)


@cache
def root() -> Path:
    """The writable cache folder of this user, made if need be."""
    for folder in candidates():
        if _usable(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="tamis-"))


def candidates() -> list[Path]:
    """The folders that are tried, in order."""
    tried = []
    if os.environ.get("TAMIS_CACHE"):
        tried.append(Path(os.environ["TAMIS_CACHE"]).absolute())
    if os.environ.get("XDG_CACHE_HOME"):
        tried.append(Path(os.environ["XDG_CACHE_HOME"]).absolute() / "tamis")
    if os.environ.get("HOME"):
        tried.append(Path(os.environ["HOME"]).absolute() / ".cache" / "tamis")
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return [*tried, Path(tempfile.gettempdir()) / f"tamis-{user}"]


def _usable(folder: Path) -> bool:
    """Ours and writable: numba unpickles what it finds, so a folder of somebody else is refused."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        return ours and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _kernels() -> str:
    """The version, and a hash of the kernels' text: numba looks only at the file of the outer function,
    so a kernel that calls another one from a changed file would stay stale."""
    from importlib.metadata import PackageNotFoundError, version

    here = Path(__file__).parent.parent
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted([*here.glob("operators/kernels/*.py"), *here.glob("gpu_ops/kernels/*.py")]):
        digest.update(path.read_bytes())
    try:
        return f"{version('tamis')}-{digest.hexdigest()}"
    except PackageNotFoundError:
        return digest.hexdigest()


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", "rb") as info:
            block = info.read(8192).split(b"\n\n")[0]
        wanted = (b"model name", b"flags", b"Features", b"CPU part")
        text = b"\n".join(line for line in block.splitlines() if line.startswith(wanted))
    except OSError:
        text = f"{platform.machine()} {platform.processor()}".encode()
    return hashlib.blake2b(text, digest_size=4).hexdigest()


def keep_source(name: str, source: str, digest: str) -> str:
    """The path of a file with this text in the cache folder, written once."""
    folder = root() / "user-operators" / digest
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
            file.write(source)
        os.replace(file.name, path)
    return str(path)


@contextmanager
def warm_once(name: str) -> Iterator[bool]:
    """Yields True to the one process that should compile `name`, after it False to all; others wait.

    The mark stays when the block ends well, so that a failed warm-up is tried again."""
    import fcntl

    folder = prepare()
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{name}.warm"
    with open(folder / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not mark.exists()
        mark.touch()
