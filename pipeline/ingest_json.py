"""JSON Lines as Arrow tables, block by block, with every mistake named by its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipeline.errors import DataError
from pipeline.files import MIB, open_stream, refuse_foreign
from pipeline.unify import TEXT, arrow_type, merge, normal

if TYPE_CHECKING:
    from pipeline.ingest import ConvertTask

BLOCK_BYTES, LONGEST_LINE = 16 * MIB, 1 << 30
_FIX = "fix or remove the line (one JSON object a line)"
MOST_NESTED = 40  # Parquet counts two levels for each of lists, and 100 is its limit
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NULL = re.compile(rb"(?m)^[ \t\r]*null[ \t\r]*$")
Types = dict[str, pa.DataType]


def json_blocks(task: ConvertTask, known: Callable[[], pa.Schema]) -> Iterator[pa.Table]:
    """The rows of a JSON Lines file; `known` gives the schema of the blocks before.

    Blank lines are skipped. Strings stay strings, also those that look like dates. Values of a
    column that `schema:` declares as a string are kept as JSON where they are none.
    """
    declared = {name: arrow_type(dtype) for name, dtype in task.settings.schema}
    strings = [name for name, dtype in declared.items() if dtype == TEXT]
    text = {task.settings.text: TEXT} if task.settings.text else {}
    lines = Lines(task.path, text | declared, strings, known)
    with open_stream(task.path, task.compression) as stream:
        for first, block in _line_blocks(task.path, stream):
            if first == 1:
                refuse_foreign(task.path, block)
            _check_utf8(task.path, block, first)
            _check_nesting(task.path, block, first)
            if block.strip():
                yield lines.table(first, block)


class Lines:
    """Makes tables of blocks of lines. explicit: the types that Arrow must not guess; strings: the
    columns whose other values become JSON texts."""

    def __init__(
        self, path: str, explicit: Types, strings: list[str], known: Callable[[], pa.Schema]
    ) -> None:
        self.path, self.explicit, self.strings, self.known = path, explicit, strings, known

    def table(self, first: int, block: bytes) -> pa.Table:
        """The rows of a block whose first line has this number; DataError naming the wrong line."""
        try:
            table = self.parsed(block)
        except pa.ArrowInvalid as error:
            raise self.blamed(first, block, str(error)) from None
        if table.num_rows != _count(block) or _conflict(self.known(), table.schema):
            raise self.blamed(first, block, "lines and rows differ in number")
        self._refuse_rounded(first, block, table)
        table = self._without_absent(table, block)
        if table.num_columns == 0 and not self.known().names:
            raise DataError(f"{self.path}:{first}: the objects from here on have no keys; {_FIX}")
        return table

    def parsed(self, block: bytes) -> pa.Table:
        """Lines as a table with normal types. What Arrow takes for dates is read again as strings,
        which `explicit` remembers for the blocks to come."""
        table = self._read(block)
        dates = {f.name: _undated(f.type) for f in table.schema if f.name not in self.explicit}
        dates = {name: dtype for name, dtype in dates.items() if dtype != table.schema.field(name).type}
        if dates:
            self.explicit |= dates
            table = self._read(block)
        table = pa.table({f.name: _solid(table[f.name].combine_chunks()) for f in table.schema})
        return table.cast(pa.schema([f.with_type(normal(f.type)) for f in table.schema]))

    def _read(self, block: bytes) -> pa.Table:
        try:
            return _read(block, self.explicit)
        except pa.ArrowInvalid:
            if not self.strings:
                raise
            try:
                lines = [json.loads(line) for line in block.split(b"\n") if line.strip()]
                texts = b"\n".join(_as_text(line, self.strings) for line in lines)
            except (ValueError, AttributeError, RecursionError):
                texts = block
            return _read(texts, self.explicit)

    def _without_absent(self, table: pa.Table, block: bytes) -> pa.Table:
        """Arrow adds every explicit column, also one that no line has: those go again."""
        empty = [n for n in self.explicit if table[n].null_count == table.num_rows]
        absent = [n for n in empty if json.dumps(n, ensure_ascii=False).encode() not in block]
        if len(absent) == table.num_columns and self.known().names:
            absent = absent[1:]  # a table without columns would have no rows
            return table.drop_columns(absent).rename_columns([self.known().names[0]])
        return table.drop_columns(absent)

    def _refuse_rounded(self, first: int, block: bytes, table: pa.Table) -> None:
        """Arrow reads integers beyond 64 bits, and those beside floats, as floats: never silently."""
        floats = [
            f.name for f in table.schema if pa.types.is_floating(f.type) and f.name not in self.explicit
        ]
        big = [name for name in floats if pc.any(pc.greater_equal(pc.abs(table[name]), 2.0**53)).as_py()]
        for number, line in enumerate(block.split(b"\n") if big else [], start=first):
            record = json.loads(line) if line.strip() else {}
            for name in big:
                value = record.get(name)
                if isinstance(value, int) and int(float(value)) != value:
                    what = f"column {name!r}: {value} would lose digits as a float"
                    raise DataError(f"{self.path}:{number}: {what}; {_declare(name)}")

    def blamed(self, first: int, block: bytes, otherwise: str) -> DataError:
        """Reads line by line to find the one that is wrong, or that changes a column's type."""
        types: Types = {field.name: field.type for field in self.known()}
        for number, line in enumerate(block.split(b"\n"), start=first):
            if not line.strip():
                continue
            where, text = f"{self.path}:{number}", _short(line)
            try:
                table = self.parsed(line)
            except pa.ArrowInvalid as error:
                return DataError(_complaint(where, str(error), text))
            if table.num_rows != 1:
                return DataError(f"{where}: {table.num_rows} JSON objects on one line: {text}; {_FIX}")
            for field in table.schema:
                before = types.get(field.name, pa.null())
                merged = merge(before, field.type, widen=True)
                if merged is None:
                    what = f"column {field.name!r} is {field.type} here and {before} before"
                    return DataError(f"{where}: {what}: {text}; {_declare(field.name)}")
                types[field.name] = merged
        return DataError(f"{self.path}:{first}: in the lines from here: {otherwise}")


def _line_blocks(path: str, stream: pa.NativeFile) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, block of whole lines), each block about 16 MiB or one longer line."""
    line, rest, start = 1, b"", True
    while True:
        chunk = stream.read(BLOCK_BYTES)
        if start:
            chunk, start = chunk.removeprefix(b"\xef\xbb\xbf"), False
        if not chunk:
            break
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest += chunk
            if len(rest) > LONGEST_LINE:
                raise DataError(f"{path}:{line}: a line of more than 1 GiB; is this JSON Lines?")
            continue
        block, rest = rest + chunk[:end], chunk[end:]
        yield line, block
        line += block.count(b"\n")
    if rest:
        yield line, rest


def _check_utf8(path: str, block: bytes, first_line: int) -> None:
    whole = pa.LargeStringArray.from_buffers(
        1, pa.array([0, len(block)], pa.int64()).buffers()[1], pa.py_buffer(block)
    )
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        try:
            block.decode()
        except UnicodeDecodeError as error:
            line = first_line + block.count(b"\n", 0, error.start)
            near = block[max(0, error.start - 30) : error.start + 30]
            raise DataError(
                f"{path}:{line}: invalid UTF-8 ({error.reason}) near {near!r}; convert the file to UTF-8"
            ) from None


def _check_nesting(path: str, block: bytes, first_line: int) -> None:
    """DataError for a line nested deeper than any reader's stack should be asked for: Arrow's would end the
    process. Also for a line that is `null`, which Arrow takes for an object."""
    data = np.frombuffer(block, np.uint8)
    opens = np.flatnonzero((data | 32) == ord("{"))  # [ and {
    if len(opens) > MOST_NESTED:
        ends = np.append(np.flatnonzero(data == ord("\n")), len(block))
        lines = np.searchsorted(ends, opens)
        many = lines[MOST_NESTED:][lines[MOST_NESTED:] == lines[:-MOST_NESTED]]
        for line in np.unique(many).tolist():
            start, end = (int(ends[line - 1]) + 1 if line else 0), int(ends[line])
            if _depth(block[start:end]) > MOST_NESTED:
                text = _short(block[start : start + 400])
                raise DataError(
                    f"{path}:{first_line + line}: nested more than {MOST_NESTED} deep: {text}; "
                    f"flatten or remove it, or keep such a column as a text (JSON in a string)"
                )
    for null in _NULL.finditer(block) if b"null" in block else ():
        line = first_line + block.count(b"\n", 0, null.start())
        raise DataError(f"{path}:{line}: a line must be one JSON object, this is null; {_FIX}")


def _depth(line: bytes) -> int:
    """How deep a line of JSON is nested, brackets in strings not counted."""
    bare = np.frombuffer(_STRING.sub(b"", line), np.uint8) | 32
    steps = (bare == ord("{")).astype(np.int64) - (bare == ord("}"))
    return int(np.cumsum(steps).max(initial=0))


def _read(block: bytes, explicit: Types) -> pa.Table:
    reading = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    parsing = pj.ParseOptions(explicit_schema=pa.schema(list(explicit.items())))
    return pj.read_json(pa.BufferReader(block), read_options=reading, parse_options=parsing)


def _as_text(record: dict[str, object], names: list[str]) -> bytes:
    for name in names:
        value = record.get(name)
        if value is not None and not isinstance(value, str):
            record[name] = json.dumps(value, ensure_ascii=False)
    return json.dumps(record, ensure_ascii=False).encode()


def _declare(name: str) -> str:
    return f"say what it is with `schema: {{{name}: string}}` (or another type)"


def _undated(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([f.with_type(_undated(f.type)) for f in dtype])
    if pa.types.is_list(dtype):
        return pa.list_(_undated(dtype.value_type))
    return dtype


def _solid(array: pa.Array) -> pa.Array:
    """Without objects that have no keys, which Parquet cannot hold: `{}` becomes null."""
    if pa.types.is_struct(array.type):
        fields = [(f.name, _solid(c)) for f, c in zip(array.type, array.flatten(), strict=True)]
        if not fields:
            return pa.nulls(len(array))
        names, children = [name for name, _ in fields], [child for _, child in fields]
        return pa.StructArray.from_arrays(children, names, mask=array.is_null())
    if pa.types.is_list(array.type) and pa.types.is_nested(array.type.value_type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        return pa.ListArray.from_arrays(ends, _solid(array.flatten()), mask=array.is_null())
    return array


def _count(block: bytes) -> int:
    """How many lines are not blank."""
    return sum(1 for line in block.split(b"\n") if line.strip())


def _conflict(known: pa.Schema, new: pa.Schema) -> str | None:
    """The first column that cannot hold both."""
    for field in new:
        if field.name in known.names and merge(known.field(field.name).type, field.type, widen=True) is None:
            return str(field.name)
    return None


def _complaint(where: str, error: str, text: str) -> str:
    what = error.removeprefix("JSON parse error: ").removesuffix(" in row 0")
    if "Column() changed" in what:
        return f"{where}: a line must be one JSON object, this is {text}; {_FIX}"
    if "changed from" in what:
        name = what.partition("(/")[2].partition(")")[0].partition("/")[0]
        return f"{where}: {what}: {text}; {_declare(name)}"
    if "Failed to convert" in what:
        return f"{where}: {what}: {text}; this is not the type that `schema:` says"
    return f"{where}: not valid JSON ({what.rstrip('.')}): {text}; {_FIX}"


def _short(line: bytes, most: int = 90) -> str:
    text = line[: 4 * most].decode(errors="replace").strip()
    return text if len(text) <= most else f"{text[:most]}…"
