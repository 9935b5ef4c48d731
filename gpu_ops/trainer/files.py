"""Files that are there whole or not at all, and what they hold as a hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np


@contextmanager
def placed(path: Path) -> Iterator[IO[bytes]]:
    """A file under a temporary name, which takes its place when all is written, and goes if that fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """All of it or nothing."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with placed(path) as file:
        file.write(text.encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """All of it or nothing, as .npy."""
    with placed(path) as file:
        np.save(file, array, allow_pickle=False)


def sync(folder: Path, deep: bool = True) -> None:
    """Waits until the folder's entries, and with `deep` all that is below it, are on the disk: a rename alone
    may outlive what it renamed when the power fails."""
    below = sorted(folder.rglob("*"), reverse=True) if deep else []
    for path in [*below, folder]:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def content_key(paths: Iterable[Path], *more: str) -> str:
    """32 hex digits of the files' bytes, in order, and of further strings; names do not count."""
    whole = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    for text in more:
        whole.update(hashlib.blake2b(text.encode()).digest())
    return whole.hexdigest()
