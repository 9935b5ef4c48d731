"""Which files a source's paths name, in which order and format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError, TamisError
from pipeline.files import filesystem, fingerprint, is_remote, open_random

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow-stream",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
UNREAD = (".bz2", ".xz", ".lz4", ".lzma", ".br", ".snappy", ".sz", ".zip", ".7z", ".z")
CONVERTED = ("jsonl", "csv", "arrow-stream")


@dataclass(frozen=True)
class Found:
    """A data file. name: relative to the config's folder, or a URL; format: parquet, arrow,
    arrow-stream, jsonl or csv; fingerprint: see files.fingerprint."""

    source: str
    name: str
    path: str
    bytes: int
    format: str
    compression: str | None
    fingerprint: str


@dataclass(frozen=True)
class Entry:
    """A listed file before it was looked at."""

    path: str
    bytes: int
    etag: str | None


def list_files(label: str, paths: tuple[str, ...], base: Path, format: str) -> list[tuple[Entry, str]]:
    """The files of each pattern in turn, sorted by path within it, each once, with its format.

    Raises ConfigError for a pattern without files and for a file whose format is unknown.
    """
    found: dict[str, tuple[Entry, str]] = {}
    for pattern in paths:
        full = pattern.removeprefix("file://")
        if not is_remote(full):
            full = os.path.abspath(base / os.path.expanduser(full))
        entries, explicit = _expand(full)
        named = [(entry, _format(label, entry.path, format, explicit)) for entry in entries]
        chosen = [(entry, kind) for entry, kind in named if kind is not None]
        if not chosen:
            raise ConfigError(_nothing(label, pattern, full, len(entries)))
        _refuse_unread(label, [entry for entry, kind in named if kind is None])
        for entry, kind in chosen:
            found.setdefault(entry.path, (entry, kind))
    return list(found.values())


def _nothing(label: str, pattern: str, full: str, others: int) -> str:
    if others:
        return f"{label}: {pattern}: {others} files, none with a known ending ({', '.join(FORMATS)}); " + _HOW
    if not is_remote(full) and os.path.isdir(full):
        return f"{label}: {pattern}: the folder {full} holds no files"
    return f"{label}: {pattern}: no such file ({full}); paths are relative to the config file's folder"


def _refuse_unread(label: str, entries: list[Entry]) -> None:
    """ConfigError for data of a folder that would be passed over only because of how they are packed."""
    for entry in entries:
        stem, ending = os.path.splitext(entry.path.lower())
        if ending in (*COMPRESSIONS, *UNREAD) and os.path.splitext(stem)[1] in FORMATS:
            raise ConfigError(
                f"{label}: {entry.path}: packed in a way that is not read; unpack it, pack JSONL or CSV "
                f"with gzip or zstd, or move it out of the folder"
            )


_HOW = "say what they are with `format:` (parquet, arrow, jsonl or csv)"


def _expand(full: str) -> tuple[list[Entry], bool]:
    """The files of a file name, a folder (recursively) or a glob; whether they were named one by one."""
    if "\0" in full:
        raise ConfigError(f"{full!r} names no file")
    try:
        fs, inner = filesystem(full)
        fs.invalidate_cache()
        if fs.isfile(inner):
            found = {inner: fs.info(inner)}
        elif fs.isdir(inner):
            _readable(full)
            return _entries(fs, full, fs.find(inner, detail=True), inner.rstrip("/") + "/"), False
        else:
            found = fs.glob(inner, detail=True) if any(c in inner for c in "*?[") else {}
        return _entries(fs, full, found, ""), True
    except FileNotFoundError:
        return [], True
    except PermissionError as error:
        raise ConfigError(
            f"{full} cannot be listed: {error}; check the permissions or credentials"
        ) from error
    except TamisError:
        raise
    except Exception as error:  # every file system has errors of its own
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{full} cannot be listed: {why}; check the URL, the network, credentials"
        ) from error


def _readable(folder: str) -> None:
    """PermissionError for a folder that cannot be listed: fsspec would take it for an empty one."""
    if not is_remote(folder):
        for where, folders, _ in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if name[0] not in "._"]
            for name in folders:
                if os.path.islink(path := os.path.join(where, name)):
                    raise ConfigError(
                        f"{path} links to a folder, and links are not followed inside a folder; "
                        f"name it in `path` too, or remove it"
                    )


def _raise(error: OSError) -> None:
    raise error


def _entries(fs: Any, full: str, found: dict[str, dict[str, Any]], folder: str) -> list[Entry]:
    """Sorted entries; within a folder without what is hidden (a name that begins with . or _)."""
    entries = []
    for path, info in sorted(found.items()):
        if folder and any(name[0] in "._" for name in path.removeprefix(folder).split("/") if name):
            continue
        if info.get("islink") and not fs.exists(path):
            raise ConfigError(f"{path} is a link to nothing; mend or remove it")
        if info.get("type") not in ("file", "link") or (info.get("type") == "link" and fs.isdir(path)):
            continue
        etag = info.get("ETag") or info.get("etag")
        where = fs.unstrip_protocol(path) if is_remote(full) else path
        size = fs.size(path) if info.get("size") is None or info.get("type") == "link" else info["size"]
        entries.append(Entry(where, int(size), str(etag).strip('"') if etag else None))
    return entries


def _format(label: str, path: str, configured: str, explicit: bool) -> str | None:
    """The format by the configured one or by the ending; None: not a data file (within a folder)."""
    if configured != "auto":
        return "arrow-stream" if configured == "arrow" and _ending(path)[0] == ".arrows" else configured
    ending, packed = _ending(path)
    if ending in FORMATS and (packed is None or FORMATS[ending] in ("jsonl", "csv")):
        return FORMATS[ending]
    if explicit:
        raise ConfigError(f"{label}: {path}: the ending does not say what this file is; {_HOW}")
    return None


def _ending(path: str) -> tuple[str, str | None]:
    """`.jsonl` and `.gz` of `a/b.jsonl.gz`, lower case."""
    stem, ending = os.path.splitext(path.lower())
    if ending in COMPRESSIONS:
        return os.path.splitext(stem)[1], ending
    return ending, None


def look(label: str, entry: Entry, format: str, base: Path) -> Found:
    """A listed file with its fingerprint and its true format.

    Raises DataError when it cannot be read or is not what its name says.
    """
    packed = _ending(entry.path)[1] if format in ("jsonl", "csv") else None
    try:
        if format == "arrow" and not _is_arrow_file(entry):
            format = "arrow-stream"
        mark = fingerprint(entry.path, entry.bytes, format, entry.etag)
    except (OSError, ValueError) as error:  # pa.ArrowInvalid is a ValueError
        raise DataError(f"{entry.path}: not a readable {format} file: {error}") from error
    name = entry.path if is_remote(entry.path) else Path(os.path.relpath(entry.path, base)).as_posix()
    compression = COMPRESSIONS[packed] if packed else None
    return Found(label, name, entry.path, entry.bytes, format, compression, mark)


def _is_arrow_file(entry: Entry) -> bool:
    """Whether it is an Arrow file with a footer rather than a stream (both are called .arrow)."""
    with open_random(entry.path) as file:
        return bool(file.read_at(6, 0) == b"ARROW1") or not entry.bytes


def as_list(path: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else tuple(path)
