"""Opening source files, local or remote, for random access or as a stream of decompressed bytes."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import fsspec
import pyarrow as pa

from pipeline.errors import DataError

MIB = 1 << 20


def is_remote(path: str) -> bool:
    return "://" in path


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of an absolute path or URL, and the path inside it."""
    fs, inner = fsspec.core.url_to_fs(path)
    return fs, inner


def open_random(path: str, mapped: bool = False) -> pa.NativeFile:
    """A file for reads at any offset; `mapped` maps a local file into memory.

    Raises OSError when it is not there.
    """
    if is_remote(path):
        fs, inner = filesystem(path)
        # Arrow asks for whole column chunks, so that a read-ahead cache would only read more.
        return pa.PythonFile(fs.open(inner, "rb", cache_type="none"), mode="r")
    if mapped and os.path.getsize(path):
        return pa.memory_map(path, "r")
    return pa.OSFile(path, "rb")


def open_stream(path: str, compression: str | None) -> pa.NativeFile:
    """A file as a stream of bytes, decompressed (`gzip`, `zstd` or None).

    Reading raises OSError when the compressed data are damaged or truncated.
    """
    if is_remote(path):
        fs, inner = filesystem(path)
        raw: pa.NativeFile = pa.PythonFile(fs.open(inner, "rb", block_size=8 * MIB), mode="r")
    else:
        raw = pa.OSFile(path, "rb")
    if compression is None:
        return raw
    return pa.CompressedInputStream(raw, compression)


SIGNS = {
    b"\x1f\x8b": "gzip; name it with .gz at the end",
    b"\x28\xb5\x2f\xfd": "zstd; name it with .zst at the end",
    b"PAR1": "Parquet; name it .parquet",
    b"ARROW1": "Arrow; name it .arrow",
    b"BZh": "bzip2; write it as gzip or zstd",
    b"\xfd7zXZ": "xz; write it as gzip or zstd",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xff\xfe": "UTF-16; convert it to UTF-8",
    b"\xfe\xff": "UTF-16; convert it to UTF-8",
}


def refuse_foreign(path: str, head: bytes) -> None:
    """DataError where the first bytes of what should be lines of text are those of something else."""
    for sign, what in SIGNS.items():
        if head.startswith(sign):
            raise DataError(f"{path}:1: not lines of text but {what}")


class Footer:
    """The bytes at the end of a Parquet or Arrow file that say where everything is.

    raw: the serialised footer, with its length and the magic word. Raises pa.ArrowInvalid when the
    file does not end as such a file does: it is truncated or something else.
    """

    MAGIC = ((b"PAR1", 8), (b"ARROW1", 10))

    def __init__(self, file: pa.NativeFile, arrow: bool) -> None:
        magic, trailer = self.MAGIC[arrow]
        size = file.size()
        tail = file.read_at(min(size, 64 << 10), max(0, size - (64 << 10)))
        if size < trailer + len(magic) or not tail.endswith(magic):
            raise pa.ArrowInvalid(f"it does not end in {magic.decode()}: truncated, or another format")
        length = int.from_bytes(tail[-trailer : -len(magic)], "little", signed=True) + trailer
        if not trailer < length <= size:
            raise pa.ArrowInvalid(f"its footer says that it has {length} bytes, the file has {size}")
        if length > len(tail):
            tail = file.read_at(length, size - length)
        self.raw: bytes = tail[-length:]
        self.size: int = size

    @property
    def digest(self) -> str:
        """What a reader compares on opening: size and hash of the footer."""
        return f"{self.size:x}-{hashlib.blake2b(self.raw, digest_size=16).hexdigest()}"


def sampled_digest(file: pa.NativeFile, whole: int = 64 * MIB, block: int = MIB, blocks: int = 64) -> str:
    """Size and content hash: of all bytes up to `whole`, beyond that of `blocks` blocks: the head,
    the tail and the others evenly spaced between them."""
    size = file.size()
    checksum = hashlib.blake2b(digest_size=16)
    if size <= whole:
        starts = range(0, size, block)
    else:
        starts = [index * (size - block) // (blocks - 1) for index in range(blocks)]  # type: ignore[assignment]
    for start in starts:
        checksum.update(file.read_at(min(block, size - start), start))
    return f"{size:x}-{checksum.hexdigest()}"


def fingerprint(path: str, size: int, format: str, etag: str | None) -> str:
    """What a file's identity is made of; never its date.

    An object with an ETag: size and ETag. Parquet: size, hash of the footer, and of the content (all
    of it up to 4 MiB, beyond that 64 blocks of 16 KiB). Everything else: size and content hash (all
    of it up to 64 MiB, beyond that 64 blocks of 1 MiB), for a footer of Arrow IPC shows no change of
    the text that keeps the padded length. Raises pa.ArrowInvalid for a Parquet file without footer.
    """
    if etag is not None:
        return f"{size:x}-etag-{etag}"
    with open_random(path) as file:
        if format != "parquet":
            return sampled_digest(file)
        return f"{Footer(file, arrow=False).digest}-{sampled_digest(file, 4 * MIB, 16 << 10)}"
