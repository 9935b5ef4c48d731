"""CSV as Arrow tables, block by block, with every mistake named by its line."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline.errors import DataError
from pipeline.files import MIB, open_stream, refuse_foreign
from pipeline.unify import TEXT, arrow_type

if TYPE_CHECKING:
    from pipeline.ingest import ConvertTask

BLOCK_BYTES = 64 * MIB  # also the longest row
LAST = "\x1a\x1atamis:end\x1a\x1a"
# Without leading zeros: 007 is a name, not a number. Among floats integers must be exact as one.
INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
FLOAT = (
    r"^-?(0|[1-9][0-9]{0,14}|(0|[1-9][0-9]*)?\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?[eE][-+]?[0-9]{1,3}|"
    r"(0|[1-9][0-9]*)\.|\.[0-9]+[eE][-+]?[0-9]{1,3}|nan|NaN|inf|Infinity)$"
)


def csv_blocks(task: ConvertTask, known: Callable[[], pa.Schema]) -> Iterator[pa.Table]:
    """The rows of a CSV file with a header; `known` gives the schema of the blocks before.

    A field may hold newlines in quotes; an empty field without quotes is null; blank lines are
    skipped. The text and the id are strings; other columns are integers or floats when every value
    so far is one, else strings, unless `schema:` says what they are.
    """
    rows = 0
    try:
        names = _header(task)
        if names is None:
            return
        yield pa.table({name: pa.array([], pa.null()) for name in names})
        for batch in _strings(task, names):
            arrays = {n: _typed(task, n, batch.column(n), known(), rows) for n in batch.schema.names}
            yield pa.table(arrays)
            rows += batch.num_rows
    except pa.ArrowInvalid as error:
        _blame(task, str(error))


def _header(task: ConvertTask) -> list[str] | None:
    """The names of the columns; None for an empty file."""
    with open_stream(task.path, task.compression) as stream:
        head = stream.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf")
    refuse_foreign(task.path, head)
    text = head.decode(errors="surrogateescape")
    names = next(
        (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=task.delimiter) if row), None
    )
    for name in names or []:
        if not name or not name.isprintable() or (names or []).count(name) > 1:
            raise DataError(
                f"{task.path}:1: the header has {_what(name, names or [])}; give every column its own name"
            )
    return names


def _what(name: str, names: list[str]) -> str:
    if not name:
        return "a column without a name"
    shown = ascii(name if len(name) <= 60 else f"{name[:60]}...")
    return f"two columns named {shown}" if names.count(name) > 1 else f"a column named {shown}"


def _strings(task: ConvertTask, names: list[str]) -> Iterator[pa.RecordBatch]:
    with (
        open_stream(task.path, task.compression) as stream,
        pv.open_csv(
            pa.PythonFile(_WithLast(stream, _last_row(task, names)), mode="r"),
            read_options=pv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pv.ParseOptions(delimiter=task.delimiter, newlines_in_values=True),
            convert_options=pv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, TEXT),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ) as reader,
    ):
        yield from _ended(task, reader)


def _last_row(task: ConvertTask, names: list[str]) -> bytes:
    return b"\n" + task.delimiter.join([LAST] * len(names)).encode() + b"\n"


class _WithLast(io.RawIOBase):
    """A stream with one more row after its end: to Arrow a quote that is never closed is a field that goes to
    the end of the file, with all the rows in it, and then the last row goes under, too."""

    def __init__(self, stream: pa.NativeFile, last: bytes) -> None:
        self.stream, self.last = stream, last

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size if size >= 0 else None)
        if not data:
            data, self.last = self.last, b""
        return bytes(data)


def _ended(task: ConvertTask, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches without the row that marks the end; DataError where some quote has swallowed it."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows:
            if held is not None:
                yield held
            held = batch
    if held is None or any(column[-1].as_py() != LAST for column in held.columns):
        raise DataError(
            f"{task.path}:{_open_quote(task)}: a quote is opened in the row that begins here and never "
            f"closed: all that follows would be one field; close it, or double it where it is text"
        )
    yield held.slice(0, held.num_rows - 1)


def _open_quote(task: ConvertTask) -> int:
    """The line where the last row begins, as far as the standard library sees it."""
    line = 1
    for line, _ in _scan(task):  # noqa: B007
        pass
    return line


def _typed(task: ConvertTask, name: str, column: pa.Array, known: pa.Schema, rows: int) -> pa.Array:
    """A column of strings as the type it has: declared, as before, or what all values look like."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        row = next(i for i in range(len(column)) if not _valid(column, i))
        text = column.slice(row, 1).view(pa.large_binary())[0].as_py()[:60]
        where = f"{_place(task, rows + row)}: column {name!r}"
        raise DataError(f"{where}: invalid UTF-8 in {text!r}; convert the file to UTF-8") from None
    declared = dict(task.settings.schema)
    if name in declared:
        return _cast(task, name, column, arrow_type(declared[name]), rows)
    before = known.field(name).type if name in known.names else pa.null()
    if name in (task.settings.text, task.settings.id) or before == TEXT:
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), before)
    return _inferred(task, name, column, before, rows)


def _inferred(task: ConvertTask, name: str, column: pa.Array, before: pa.DataType, rows: int) -> pa.Array:
    numbers = pc.if_else(pc.equal(column, ""), pa.scalar(None, TEXT), column)
    if _all(numbers, INTEGER):
        return pc.cast(numbers, pa.int64())
    if _all(numbers, FLOAT):
        return pc.cast(numbers, pa.float64())
    if pa.types.is_null(before):
        return column
    fits = pc.fill_null(pc.match_substring_regex(numbers, FLOAT), True)
    row = pc.index(fits, False).as_py()
    value = column[row].as_py()[:60]
    raise DataError(
        f"{_place(task, rows + row)}: column {name!r} is {before} before and {value!r} here; "
        f"say what it is with `schema: {{{name}: string}}` (or another type)"
    )


def _all(column: pa.Array, pattern: str) -> bool:
    matches = pc.match_substring_regex(column, pattern)
    return matches.null_count < len(matches) and bool(pc.all(matches).as_py())


def _cast(task: ConvertTask, name: str, column: pa.Array, wanted: pa.DataType, rows: int) -> pa.Array:
    if wanted == TEXT:
        return column
    blank = pc.if_else(pc.equal(column, ""), pa.scalar(None, TEXT), column)
    try:
        return pc.cast(blank, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = next((i for i in range(len(blank)) if not _casts(blank.slice(i, 1), wanted)), 0)
        what = f"column {name!r}: {blank[row].as_py()!r} is no {wanted}, as `schema:` says"
        raise DataError(f"{_place(task, rows + row)}: {what}") from None


def _casts(value: pa.Array, wanted: pa.DataType) -> bool:
    try:
        pc.cast(value, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _valid(column: pa.Array, row: int) -> bool:
    try:
        column.slice(row, 1).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _scan(task: ConvertTask) -> Iterator[tuple[int, list[str]]]:
    """(the line where it begins, fields) of every row with the standard library: slow, for messages."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with open_stream(task.path, task.compression) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader, line = csv.reader(text, delimiter=task.delimiter), 1
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _place(task: ConvertTask, row: int) -> str:
    """file:line of a row, counted from 0 after the header."""
    line = next((line for number, (line, _) in enumerate(_scan(task), start=-1) if number == row), None)
    return f"{task.path}:{line}" if line is not None else f"{task.path}: row {row}"


def _blame(task: ConvertTask, error: str) -> NoReturn:
    """Names the line of a row that has too few or too many fields."""
    width = None
    for line, row in _scan(task):
        width = width or len(row)
        if len(row) != width:
            text = task.delimiter.join(row).encode(errors="replace").decode()
            raise DataError(
                f"{task.path}:{line}: {len(row)} fields where the header has {width}: {text[:90]!r}; "
                f"quote fields that hold a {task.delimiter!r}, or fix the row"
            )
    if "straddl" in error:
        raise DataError(f"{task.path}: a row of more than 64 MiB, or a quote that is never closed ({error})")
    raise DataError(f"{task.path}: {error}")
