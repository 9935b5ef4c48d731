"""MurmurHash3_x64_128 of texts in Arrow buffers: 128 bits that are equal on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.jit import inlined, kernel
from operators.kernels.lower import case_tables, squeeze
from operators.kernels.text_buffers import text_buffers

UInt64s = npt.NDArray[np.uint64]

_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_ADD1, _ADD2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
_MIX1, _MIX2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_FIVE = np.uint64(5)


@inlined
def _rotate(x: Any, bits: int) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@inlined
def _finish(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(33))) * _MIX1
    x = (x ^ (x >> np.uint64(33))) * _MIX2
    return x ^ (x >> np.uint64(33))


@inlined
def _word(data: Any, i: int) -> Any:
    """Eight bytes, little end first; the compiler makes one load of them."""
    low = np.uint64(data[i]) | np.uint64(data[i + 1]) << np.uint64(8)
    low |= np.uint64(data[i + 2]) << np.uint64(16) | np.uint64(data[i + 3]) << np.uint64(24)
    high = np.uint64(data[i + 4]) << np.uint64(32) | np.uint64(data[i + 5]) << np.uint64(40)
    return low | high | np.uint64(data[i + 6]) << np.uint64(48) | np.uint64(data[i + 7]) << np.uint64(56)


@kernel
def murmur128(data: Any, start: int, end: int, seed: Any) -> tuple[Any, Any]:
    """(low, high) uint64 of data[start:end] (Appleby, MurmurHash3.cpp, MurmurHash3_x64_128)."""
    h1, h2 = np.uint64(seed), np.uint64(seed)
    i = start
    while i + 16 <= end:
        h1 ^= _rotate(_word(data, i) * _C1, 31) * _C2
        h1 = (_rotate(h1, 27) + h2) * _FIVE + _ADD1
        h2 ^= _rotate(_word(data, i + 8) * _C2, 33) * _C1
        h2 = (_rotate(h2, 31) + h1) * _FIVE + _ADD2
        i += 16
    k1, k2 = np.uint64(0), np.uint64(0)
    for j in range(end - i):
        if j < 8:
            k1 |= np.uint64(data[i + j]) << np.uint64(8 * j)
        else:
            k2 |= np.uint64(data[i + j]) << np.uint64(8 * (j - 8))
    h2 ^= _rotate(k2 * _C2, 33) * _C1
    h1 ^= _rotate(k1 * _C1, 31) * _C2
    h1, h2 = h1 ^ np.uint64(end - start), h2 ^ np.uint64(end - start)
    h1 += h2
    h2 += h1
    h1, h2 = _finish(h1), _finish(h2)
    h1 += h2
    return h1, h2 + h1


@kernel
def _hash_all(data: Any, starts: Any, ends: Any, squeezed: bool, classes: Any, lower: Any, out: Any) -> None:
    longest = np.int64(0)
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    scratch = np.empty(3 * longest if squeezed else np.int64(0), np.uint8)
    for i in range(len(starts)):
        if squeezed:
            size = squeeze(data, starts[i], ends[i], classes, lower, scratch)
            out[i, 0], out[i, 1] = murmur128(scratch, 0, size, 0)
            out[i, 2] = size
        else:
            out[i, 0], out[i, 1] = murmur128(data, starts[i], ends[i], 0)
            out[i, 2] = ends[i] - starts[i]


def hash_texts(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], squeezed: bool
) -> UInt64s:
    """(n, 3) uint64: low half, high half, and the bytes that were hashed, for each data[start:end].

    squeezed: hash the text lower-cased, with runs of white space as one space and none at the ends
    (each byte of invalid UTF-8 counts as U+FFFD). Needs 3 times the longest text as scratch memory.
    """
    out = np.empty((len(starts), 3), np.uint64)
    tables = case_tables() if squeezed else (np.zeros(0, np.uint8), np.zeros(0, np.int32))
    _hash_all(data, starts, ends, squeezed, *tables, out)
    return out


def hash_text(texts: pa.Array) -> tuple[UInt64s, UInt64s]:
    """(low, high), (n,) uint64 each, of a large_string array, byte for byte; a null is an empty text."""
    hashes = hash_texts(*text_buffers(texts), squeezed=False)
    return hashes[:, 0].copy(), hashes[:, 1].copy()


def reference(text: bytes, seed: int = 0) -> tuple[int, int]:
    """The same hash in Python integers, one step a line."""
    mask = (1 << 64) - 1
    words = [int.from_bytes(text[i : i + 8].ljust(8, b"\0"), "little") for i in range(0, len(text), 8)]
    words += [0] * (len(words) % 2 + 2 * (len(text) % 16 == 0))  # a tail, even if it is empty
    h1 = h2 = seed
    for i in range(0, len(words), 2):
        k1, k2 = words[i] * int(_C1) & mask, words[i + 1] * int(_C2) & mask
        h1 ^= ((k1 << 31 | k1 >> 33) & mask) * int(_C2) & mask
        if i < len(words) - 2:
            h1 = (((h1 << 27 | h1 >> 37) & mask) + h2) * 5 + int(_ADD1) & mask
        h2 ^= ((k2 << 33 | k2 >> 31) & mask) * int(_C1) & mask
        if i < len(words) - 2:
            h2 = (((h2 << 31 | h2 >> 33) & mask) + h1) * 5 + int(_ADD2) & mask
    h1, h2 = h1 ^ len(text), h2 ^ len(text)
    h1 = h1 + h2 & mask
    h2 = h2 + h1 & mask
    h1, h2 = _reference_finish(h1, mask), _reference_finish(h2, mask)
    h1 = h1 + h2 & mask
    return h1, h2 + h1 & mask


def _reference_finish(h: int, mask: int) -> int:
    h = (h ^ h >> 33) * int(_MIX1) & mask
    h = (h ^ h >> 33) * int(_MIX2) & mask
    return h ^ h >> 33
