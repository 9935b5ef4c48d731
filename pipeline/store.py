"""The store: files that are written once, by whoever is first, and never change."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from operators.contract import Artifact
from pipeline.alive import exists
from pipeline.errors import DataError, ResourceError

CHUNK_BYTES = 1 << 20
DIGITS = 40  # of the checksum that names a data file
SUM = "sum"  # the field of a record that holds the checksum of the others
SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}


class Store:
    """A folder on a local or shared file system, or a prefix of an object store.

    A name is committed at most once: by a hard link (local) or one conditional PUT (object store),
    so that of two attempts one wins and the other learns that it lost. Data files are named by
    their content; a small JSON record that names one is its commit.
    """

    def __init__(self, url: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.url = os.path.abspath(self.root) if self.is_local else url
        self._verified: set[str] = set()

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.url,)

    def path(self, rel: str) -> str:
        """The full path or URL of a name."""
        return f"{self.root}/{rel}" if self.is_local else self.fs.unstrip_protocol(f"{self.root}/{rel}")

    def read(self, rel: str) -> bytes:
        """The content of a name; FileNotFoundError when nobody has committed it."""
        if self.is_local:
            return Path(self.path(rel)).read_bytes()
        return bytes(self.fs.cat_file(f"{self.root}/{rel}"))

    def exists(self, rel: str) -> bool:
        if self.is_local:
            return os.path.exists(self.path(rel))
        return bool(self.fs.exists(f"{self.root}/{rel}"))

    def list(self, prefix: str) -> list[str]:
        """The committed names under a folder, relative to the store's root, sorted."""
        if self.is_local:
            top = f"{self.root}/{prefix}"  # os.walk passes over what somebody deletes meanwhile
            found = (os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names)
            return sorted(os.path.relpath(path, self.root) for path in found)
        try:
            self.fs.invalidate_cache()
            full = self.fs.find(f"{self.root}/{prefix}")
        except FileNotFoundError:
            return []
        return sorted(str(p)[len(self.root) + 1 :] for p in full)

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of every file under a folder, temporaries included, by name."""
        if self.is_local:
            found = {}
            for name in self.list(prefix):
                with contextlib.suppress(FileNotFoundError):
                    found[name] = os.stat(self.path(name)).st_size
            return found
        try:
            self.fs.invalidate_cache()
            full = self.fs.find(f"{self.root}/{prefix}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return {}
        return {str(p)[len(self.root) + 1 :]: int(about.get("size") or 0) for p, about in full.items()}

    def commit(self, rel: str, data: bytes) -> bool:
        """Write a name unless it is there; False when somebody was first."""
        if self.is_local:
            with self._scratch() as temporary:
                Path(temporary).write_bytes(data)
                return self._publish(temporary, rel)
        try:
            self.fs.pipe_file(f"{self.root}/{rel}", data, mode="create")
        except FileExistsError:
            return False
        return True

    def write(self, rel: str, data: bytes) -> None:
        """Write or rewrite a name in one step: for a run's diary, never for values."""
        if not self.is_local:
            self.fs.pipe_file(f"{self.root}/{rel}", data)
            return
        with self._scratch() as temporary:
            Path(temporary).write_bytes(data)
            os.makedirs(os.path.dirname(self.path(rel)), exist_ok=True)
            os.replace(temporary, self.path(rel))

    @contextlib.contextmanager
    def create(self, rel: str) -> Iterator[str]:
        """A local temporary file to fill; when the block ends well it becomes the name, if absent."""
        with self._scratch() as temporary:
            yield temporary
            self._publish(temporary, rel)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What the file system says against a write here, as a ResourceError that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in SPACE:
                raise ResourceError(f"no space left in {self.url}: free some and run again") from error
            ours = not isinstance(error.filename, str) or error.filename.startswith(self.root)
            if error.errno in REFUSED and ours:  # and not a source that was being read
                raise ResourceError(
                    f"cannot write to the store {self.url} ({os.strerror(error.errno or 0)}): make it "
                    "writable or name another one with --store, and run again"
                ) from error
            raise

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[str]:
        with self.writing():
            temporary = self._temporary()
            try:
                yield temporary
            finally:
                with contextlib.suppress(OSError):  # what stays is swept by the next run
                    os.unlink(temporary)

    def _temporary(self) -> str:
        # Local temporaries lie in the store itself: a hard link cannot cross file systems.
        folder = f"{self.root}/tmp" if self.is_local else tempfile.gettempdir()
        os.makedirs(folder, exist_ok=True)
        return f"{folder}/{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"

    def _publish(self, temporary: str, rel: str) -> bool:
        if not self.is_local:
            try:
                self.fs.put_file(temporary, f"{self.root}/{rel}", mode="create")
            except FileExistsError:
                return False
            return True
        final = self.path(rel)
        os.makedirs(os.path.dirname(final), exist_ok=True)
        try:
            os.link(temporary, final)
        except FileExistsError:
            return False
        return True

    def put(self, folder: str, suffix: str, write: Callable[[str], None]) -> dict[str, Any]:
        """Write a data file under its content's name: {"file", "bytes"}; not yet committed."""
        with self._scratch() as temporary:
            write(temporary)
            digest, size = _digest(temporary), os.path.getsize(temporary)
            if self._publish(temporary, f"{folder}/{digest}{suffix}"):
                self._verified.add(f"{folder}/{digest}{suffix}")
        return {"file": f"{digest}{suffix}", "bytes": size}

    def put_batches(
        self, folder: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
    ) -> dict[str, Any]:
        """A data file of record batches: {"file", "bytes", "rows"}."""
        rows = 0

        def write(path: str) -> None:
            nonlocal rows
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in batches:
                    rows += batch.num_rows
                    writer.write_batch(batch)

        return self.put(folder, ".arrow", write) | {"rows": rows}

    def put_artifact(self, rel: str, arrays: Artifact) -> bool:
        """Commit named arrays under a record."""
        return self.commit_record(rel, self.put_arrays(os.path.dirname(rel), arrays))

    def get_artifact(self, rel: str) -> dict[str, np.ndarray]:
        record = self.record(rel)
        if record is None:
            raise FileNotFoundError(self.path(rel))
        return self.get_arrays(f"{os.path.dirname(rel)}/{record['file']}")

    def put_arrays(self, folder: str, arrays: Artifact) -> dict[str, Any]:
        """A data file of named arrays: {"file", "bytes"}; not yet committed."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{k: np.asarray(v) for k, v in sorted(arrays.items())})
        return self.put(folder, ".npz", lambda path: _write_bytes(path, buffer.getvalue()))

    def get_arrays(self, rel: str) -> dict[str, np.ndarray]:
        """The arrays of a data file, its content checked against its name."""
        try:
            data = self.read(rel)
        except FileNotFoundError as error:
            raise self._damaged(rel) from error
        if _hex(data, rel) != _stem(rel):
            raise self._damaged(rel)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}

    def commit_record(self, rel: str, record: dict[str, Any]) -> bool:
        """Commit a small record; its checksum goes with it."""
        return self.commit(rel, sealed(record).encode())

    def record(self, rel: str) -> dict[str, Any] | None:
        """A committed record, its content checked against its checksum, or None. Stores have records
        without one from before."""
        try:
            return unsealed(self.read(rel))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._damaged(rel) from error

    def open_arrow(self, rel: str, ranges: bool = False, mapped: bool = True) -> pa.ipc.RecordBatchFileReader:
        """A data file, its content checked against its name; memory-mapped when local, unless its batches
        are to be read one after the other and given back. With `ranges` an object store is asked only for
        the batches that are read, and nothing is checked."""
        try:
            if self.is_local:
                self._verify(rel)
                path = self.path(rel)
                return pa.ipc.open_file(pa.memory_map(path) if mapped else pa.OSFile(path))
            if not ranges:
                data = self.read(rel)
                if _hex(data, rel) != _stem(rel):
                    raise self._damaged(rel)
                return pa.ipc.open_file(pa.BufferReader(data))
            return pa.ipc.open_file(pa.PythonFile(self.fs.open(f"{self.root}/{rel}", "rb"), mode="r"))
        except pa.ArrowInvalid as error:
            raise self._damaged(rel) from error

    def _verify(self, rel: str) -> None:
        if rel in self._verified:
            return
        try:
            digest = _digest(self.path(rel), rel)
        except FileNotFoundError as error:
            raise self._damaged(rel) from error
        if digest != _stem(rel):
            raise self._damaged(rel)
        self._verified.add(rel)

    def _damaged(self, rel: str) -> DataError:
        folder = "/".join(rel.split("/")[:2])
        return DataError(
            f"{self.path(rel)} is missing or damaged: its content does not match its checksum; "
            f"delete the folder {self.path(folder)} and run again (only that node is recomputed)"
        )

    def delete(self, rel: str) -> None:
        """Remove a file or a whole folder; nothing happens when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            if self.is_local and os.path.isdir(self.path(rel)):
                shutil.rmtree(self.path(rel))
            else:
                self.fs.rm(f"{self.root}/{rel}", recursive=True)

    def sweep(self) -> None:
        """Remove temporaries that dead processes of this host left behind."""
        for name, _, _ in self.temporaries() if self.is_local else ():
            if self.is_dead(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path(name))

    def temporaries(self) -> Iterator[tuple[str, int, float]]:
        """(name, bytes, time of the last write) of every temporary, whoever wrote it."""
        if self.is_local:
            for name in self.list("tmp"):
                with contextlib.suppress(FileNotFoundError):
                    about = os.stat(self.path(name))
                    yield name, about.st_size, about.st_mtime
            return
        for name, size in self.sizes("tmp").items():
            yield name, size, self.fs.modified(f"{self.root}/{name}").timestamp()

    def is_dead(self, temporary: str) -> bool | None:
        """Whether the process that wrote it is gone; None where it is another host's."""
        host, _, pid = os.path.basename(temporary).rpartition("-")[0].rpartition("-")
        if host != socket.gethostname() or not pid.isdigit():
            return None
        return not exists(int(pid))


def free_bytes(store: Store) -> int | None:
    """What is free beside a local store; None elsewhere."""
    if not store.is_local:
        return None
    place = Path(store.root)
    there = next(folder for folder in (place, *place.parents) if folder.exists())  # a plan makes no folder
    return shutil.disk_usage(there).free


def _stem(rel: str) -> str:
    return os.path.basename(rel).split(".")[0]


def sealed(record: dict[str, Any]) -> str:
    """A record as JSON, with the checksum of its content."""
    plain = json.loads(json.dumps(record))  # as it will be read: keys are text
    return json.dumps(record | {SUM: _sum(plain)}, sort_keys=True)


def unsealed(text: str | bytes) -> dict[str, Any]:
    """The record that was sealed; ValueError when it is another one now. One without a checksum is from
    an earlier version."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no record")
    told = found.pop(SUM, None)
    if told is not None and told != _sum(found):
        raise ValueError("its content does not match its checksum")
    return found


def _sum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _write_bytes(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


def _checksum(rel: str) -> Any:
    """How the content of a data file names it: SHA-256, for which CPUs have instructions; stores have
    files from before, too."""
    return hashlib.blake2b(digest_size=16) if len(_stem(rel)) == 32 else hashlib.sha256()


def _hex(data: bytes, rel: str) -> str:
    checksum = _checksum(rel)
    checksum.update(data)
    return str(checksum.hexdigest()[:DIGITS])


def _digest(path: str, rel: str = "") -> str:
    checksum = _checksum(rel)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            checksum.update(chunk)
    return str(checksum.hexdigest()[:DIGITS])


def key_of(*parts: Any) -> str:
    """The name of a value that depends on exactly these parts (JSON-able)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
