"""The hostile corpus on which the laws are tried: every kind of value that broke somebody's pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.contract import TEXT, Kind
from operators.kernels.counter import mix64

ROWS = 60
EVERYWHERE = ("uid", "key", "id")  # columns that every batch can have without anybody giving them

_PASSAGE = (
    "The sieve lets the small grains through and holds the stones back. What falls first is the finest dust, "
    "then the sand, and at the end one shakes the frame a little so that the last grains find their way. "
    "Nobody has counted them, and nobody needs to: the heap below is what the baker wants, and the heap "
    "above goes back to the mill, where it is ground once more."
)
TEXTS: tuple[str | None, ...] = (
    None,
    "",
    " ",
    "\n\r\n\t ",
    "word",
    "Word",
    "word",
    "  word ",
    "!!!",
    "1234567890",
    "a b",
    "A  B",
    _PASSAGE,
    _PASSAGE,
    _PASSAGE.upper(),
    _PASSAGE.replace("baker", "mason"),
    _PASSAGE.replace("small", "tiny").replace("frame", "box"),
    _PASSAGE + " " + _PASSAGE.replace("heap", "pile"),
    "line one\r\nline two\r\nline three\r\n",
    "line one\nline two\nline three\n",
    "筛子让细小的颗粒通过，把石头留下。最先落下的是最细的粉尘。",
    "篩子讓細小的顆粒通過，把石頭留下。",
    "المنخل يمرر الحبوب الصغيرة ويحجز الحجارة.",
    "ตะแกรงปล่อยให้เม็ดเล็กผ่านและกันหินไว้",
    "Сито пропускает мелкие зёрна и задерживает камни.",
    "छलनी छोटे दाने जाने देती है",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ⚠️",
    "e\u0301le\u0301phant n\u0303 Z\u0351\u036b\u0343a\u0321l\u0333g\u030fo\u0330",
    "\u00e9l\u00e9phant \u00f1",
    "\u202eright to left\u202c \u200bzero\u200dwidth\ufeff",
    "\ufeffbyte order mark",
    "\x00\x01\x02 control \x7f \x1b[31mred",
    "\U0010ffff \uffff \ud7ff \ue000",
    "\u2028line\u2029paragraph\u0085next",
    "x" * 5000,
    "ab " * 900,
    "0 1 2 3 4 5 6 7 8 9 10 11 12",
    "9 8 7 6 5 4 3 2 1 0 -1 -2 -3",
    '{"json": [1, 2.5e-3, null], "quote": "\\""}',
    "def f(x):\n\treturn x ** 2  # a comment\n",
    "<html><body>&amp; &lt;p&gt;</body></html>",
    "http://example.org/a?b=c&d=%20 someone@example.org",
    "SHOUTING IS NOT AN ARGUMENT AT ALL",
    "ÜBER ÄRGER UND ÖFEN",
    "ﬁne ﬂow ǅ İ ı ẞ",
)
BROKEN_BYTES = (
    b"\xff\xfe",
    b"\x80",
    b"caf\xe9 au lait",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80 surrogate",
    b"\xc0\xaf overlong",
    b"\xf5\x80\x80\x80",
    b"good \xe2\x28\xa1 bad good",
    b"A\x80\x80\x80\x80 B",
)
SPECIAL_NUMBERS = (None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 5e-324, 1e300, -1e300, 1.0)


def _luck(rows: int, stream: int) -> np.ndarray:
    """(rows,) uint64, the same on every machine."""
    return mix64(np.arange(rows, dtype=np.uint64) + np.uint64(stream << 32))


def texts(rows: int) -> list[str | None]:
    """The hostile texts, then sentences of few words, so that some are equal and many are alike."""
    words = ("grain", "stone", "dust", "sand", "mill", "sieve", "baker", "heap", "frame", "wind", "water")
    made = []
    for row in range(len(TEXTS), rows):
        luck = _luck(6 + row, row)
        made.append(" ".join(words[int(n) % len(words)] for n in luck[: 3 + row % 29]) + ".")
    return [*TEXTS, *made][:rows]


def _numbers(rows: int) -> pa.Array:
    """Each special value twice, then rounded numbers, many of them equal."""
    plain = ((_luck(rows, 1) % np.uint64(4001)).astype(np.float64) - 2000) / 250
    special = SPECIAL_NUMBERS * 2
    return pa.array([*special, *plain.tolist()[len(special) :]][:rows], pa.float64())


def _vectors(rows: int) -> pa.Array:
    """Lists of four floats: some without a direction, some equal, some nearly so."""
    odd = [None, [], [0.0] * 4, [1.0, None, 1.0, 1.0], [float("nan"), 1.0, 1.0, 1.0]]
    odd += [[float("inf"), 1.0, 1.0, 1.0], [5e-324] * 4, [1e300, -1e300, 1e300, 1e300]]
    angle = (_luck(rows * 4, 4) % np.uint64(7)).astype(np.float64).reshape(rows, 4) - 2.9
    plain = np.repeat(angle[::2], 2, axis=0)[:rows] + np.arange(rows)[:, None] % 2 * [0.0, 0.0, 0.01, 0.1]
    return pa.array([*odd, *plain.tolist()[len(odd) :]][:rows], pa.list_(pa.float64()))


def corpus(rows: int = ROWS) -> pa.Table:
    """The columns text, id, domain, score, label and words."""
    own = texts(rows)
    domains = ["web", "wiki", "код", "", None, "a domain with a long name"]
    luck = _luck(rows, 2)
    return pa.table(
        {
            "text": pa.array(own, pa.string()),
            "id": pa.array([f"doc-{row}/ü" for row in range(rows)], pa.string()),
            "domain": pa.array([domains[int(n) % len(domains)] for n in luck], pa.string()),
            "score": _numbers(rows),
            "label": pa.array([(0, 0, 0, 1, 1, -7)[int(n >> np.uint64(8)) % 6] for n in luck], pa.int64()),
            "words": pa.array([len((text or "").split()) for text in own], pa.int64()),
        }
    )


def with_columns(table: pa.Table, wanted: Mapping[str, pa.DataType | Kind]) -> tuple[pa.Table, list[str]]:
    """The table with what it lacks of `wanted`, made up by type, and the names of what was made up."""
    have = {*table.column_names, *EVERYWHERE}
    missing = [name for name in wanted if name not in have]
    for name in missing:
        table = table.append_column(name, made_up(wanted[name], table.num_rows))
    return table, missing


def made_up(kind: pa.DataType | Kind, rows: int) -> pa.Array:
    """A column of this type; floats and strings are hostile, integers at least 0 and without nulls.

    NotImplementedError for types that nobody has needed yet."""
    if kind in (Kind.NUMBER, Kind.ORDERED):
        return _numbers(rows)
    if kind is Kind.INTEGER:
        return made_up(pa.int64(), rows)
    if kind is Kind.VECTOR:
        return _vectors(rows)
    if kind is Kind.INTEGERS:
        return made_up(pa.list_(pa.int32()), rows)
    if isinstance(kind, Kind) or kind in (pa.string(), TEXT):
        return pa.array(texts(rows), pa.string())
    luck = _luck(rows, 3)
    if pa.types.is_floating(kind):
        return _numbers(rows).cast(kind, safe=False)
    if pa.types.is_integer(kind):
        values = luck if kind == pa.uint64() else luck % np.uint64(100)
        return pa.array(values).cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(luck % np.uint64(2) == 1)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values = made_up(kind.value_type, rows).to_pylist()
        return pa.array([values[: int(n) % 4] for n in luck], kind)
    if pa.types.is_fixed_size_binary(kind):
        raw = [hashlib.shake_128(str(row).encode()).digest(kind.byte_width) for row in range(rows)]
        return pa.array(raw, kind)
    raise NotImplementedError(f"the laws do not know how to make up a column of type {kind}")


def all_null(table: pa.Table, rows: int) -> pa.Table:
    """Some rows in which everything is null that may be: not ids, not integers."""
    table = table.slice(0, rows)
    for at, field in enumerate(table.schema):
        if field.name != "id" and not pa.types.is_integer(field.type):
            table = table.set_column(at, field, pa.nulls(rows, field.type))
    return table


def write(table: pa.Table, folder: Path, files: int) -> Path:
    """The table as Parquet files of about equally many rows, each one row group; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, table.num_rows, files + 1).astype(int)
    for number, (low, high) in enumerate(pairwise(bounds)):
        pq.write_table(table.slice(low, high - low), folder / f"part-{number:03d}.parquet")
    return folder


def broken_texts(rows: int) -> pa.Array:
    """(rows,) large_string that is not valid UTF-8, from the second value of a longer array on."""
    raw = [BROKEN_BYTES[row % len(BROKEN_BYTES)] for row in range(rows + 1)]
    buffers = pa.array(raw, pa.large_binary()).buffers()
    return pa.LargeStringArray.from_buffers(len(raw), buffers[1], buffers[2]).slice(1)


@cache
def big_text(size: int) -> str:
    """A text of `size` bytes with many different words, some of more than one byte a letter."""
    parts = list(_numbered(size // 12))
    return "".join(parts).encode()[:size].decode("utf-8", "ignore")


def _numbered(words: int) -> Iterator[str]:
    for number in range(words):
        yield f"wörd{number} ß{number % 97} "
