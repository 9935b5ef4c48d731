"""What a user's file, folder or model is: its content, whatever it is called."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import fsspec

from pipeline.files import is_remote, open_random, sampled_digest
from pipeline.store import key_of


def content_identity(path: str) -> str:
    """A hash of the content of a file, a folder or a glob's files (up to 64 MiB a file whole, beyond
    that sampled); a remote file's ETag; a hub name stands for itself."""
    if is_remote(path):
        fs, inner = fsspec.core.url_to_fs(path)
        info = fs.info(inner)
        return key_of("remote", info.get("ETag") or [path, info.get("size")])
    root = Path(path)
    if root.is_dir():
        files = sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(p.relative_to(root)))
        return key_of("folder", [(str(p.relative_to(root)), _digest(str(p))) for p in files])
    found = sorted(glob.glob(path, recursive=True))
    if found:
        return key_of("files", [_digest(name) for name in found if os.path.isfile(name)])
    return key_of("name", path)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digest(path: str) -> str:
    with open_random(path) as file:
        return sampled_digest(file)
