"""How the columns of a source's files become one schema, and each file's arrays columns of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ConfigError, DataError
from pipeline.shards import Settings
from pipeline.suggest import did_you_mean

TEXT = pa.large_string()


def arrow_type(name: str) -> pa.DataType:
    """An Arrow type from its name: `int64`, `float32`, `string`, `timestamp[us]`, `list<string>`.

    Raises ConfigError for a name that Arrow does not have.
    """
    if name.startswith("list<") and name.endswith(">"):
        return pa.list_(arrow_type(name[5:-1]))
    try:
        return normal(pa.type_for_alias(name))
    except ValueError:
        known = ("bool", "int32", "int64", "uint64", "float32", "float64", "string", "binary", "date32")
        raise ConfigError(f"there is no Arrow type {name!r}{did_you_mean(name, known)}") from None


def normal(dtype: pa.DataType) -> pa.DataType:
    """The type that a column has after reading: strings are large_string, dictionaries decoded,
    extension types their storage."""
    if isinstance(dtype, pa.BaseExtensionType):
        return normal(dtype.storage_type)
    if pa.types.is_dictionary(dtype):
        return normal(dtype.value_type)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return TEXT
    if pa.types.is_binary_view(dtype):
        return pa.large_binary()
    if pa.types.is_struct(dtype):
        return pa.struct([f.with_type(normal(f.type)) for f in dtype])
    if pa.types.is_list(dtype):
        return pa.list_(normal(dtype.value_type))
    if pa.types.is_large_list(dtype):
        return pa.large_list(normal(dtype.value_type))
    return dtype


def to_type(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """An array of a column as the type `normal` promises, or the one that `schema:` asks for.

    Raises pa.ArrowInvalid or pa.ArrowNotImplementedError when a value does not fit.
    """
    if isinstance(array, pa.ExtensionArray):
        return to_type(array.storage, wanted)
    if isinstance(array, pa.DictionaryArray):
        return to_type(array.dictionary_decode(), wanted)
    if array.type == wanted:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), wanted)
    if wanted == TEXT and (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        # A cast would stop at invalid UTF-8 without saying where; the reader looks afterwards.
        return pc.cast(array, pa.large_binary()).view(TEXT)
    return pc.cast(array, wanted)


def seen_names(settings: Settings, physical: Iterable[str]) -> dict[str, str]:
    """Name as operators see it -> name in the file. The text column is `text`; the id column is `id`
    and itself; a column of the file that these hide is `text_original` or `id_original`."""
    hidden = {"text": settings.text} if settings.text else {}
    hidden |= {"id": settings.id} if settings.id else {}
    names: dict[str, str] = {}
    for name in physical:
        if name == settings.text:
            names["text"] = name
        elif hidden.get(name, name) != name:
            names[f"{name}_original"] = name
        else:
            names[name] = name
        if name == settings.id:
            names["id"] = name
    return names


def seen_schema(label: str, settings: Settings, file: str, schema: pa.Schema) -> pa.Schema:
    """The columns of one file as operators see them; those that only `schema:` names come last.

    Raises ConfigError when the text or id column is not there or has no text, DataError when a name
    occurs twice.
    """
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: two columns are named {twice[0]!r}; rename one of them")
    wanted = dict(settings.schema)
    for role, column in (("text", settings.text), ("id", settings.id)):
        if column:
            _require(label, role, column, file, schema, wanted)
    types = {name: normal(schema.field(name).type) for name in schema.names}
    types |= {name: arrow_type(dtype) for name, dtype in wanted.items()}
    if settings.text:
        _check_text(label, settings.text, file, types[settings.text])
        types[settings.text] = TEXT
    if settings.id and not (types[settings.id] == TEXT or _int_or_null(types[settings.id])):
        raise ConfigError(
            f"{file}: column {settings.id!r}, the id of {label}, is {types[settings.id]}; an id is a string "
            f"or an integer: name another with `id:`, or cast it with `schema: {{{settings.id}: string}}`"
        )
    return pa.schema([pa.field(seen, types[name]) for seen, name in seen_names(settings, types).items()])


def _int_or_null(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_null(dtype)  # null: no rows, or none with an id


def _check_text(label: str, name: str, file: str, dtype: pa.DataType) -> None:
    if not (
        dtype == TEXT
        or pa.types.is_null(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
    ):
        raise ConfigError(
            f"{file}: column {name!r}, the text of {label}, is {dtype}, not a string; "
            f"name another one with `text:`"
        )


def _require(
    label: str, role: str, name: str, file: str, schema: pa.Schema, declared: Mapping[str, str]
) -> None:
    if name in schema.names or name in declared:
        return
    there = ", ".join(schema.names)
    near = did_you_mean(name, schema.names)
    hint = near if near.startswith("; did") else f"; name the {role} column with `{role}:`"
    raise ConfigError(f"{label}: {file} has no column {name!r} for `{role}`; it has: {there}{hint}")


def merge(a: pa.DataType, b: pa.DataType, widen: bool) -> pa.DataType | None:
    """The type that holds both, or None. Null fits any type, also inside lists and structs; with
    `widen` (blocks of one JSONL or CSV file) integers become floats and structs get all the fields."""
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_list(a) and pa.types.is_list(b):
        inner = merge(a.value_type, b.value_type, widen)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return _merge_structs(a, b, widen)
    numbers = {str(a), str(b)}
    return pa.float64() if widen and numbers == {"int64", "double"} else None


def _merge_structs(a: pa.StructType, b: pa.StructType, widen: bool) -> pa.DataType | None:
    left, right = ({f.name: f.type for f in side} for side in (a, b))
    if not widen and left.keys() != right.keys():
        return None
    fields = {}
    for name in {**left, **right}:
        inner = merge(left.get(name, pa.null()), right.get(name, pa.null()), widen)
        if inner is None:
            return None
        fields[name] = inner
    return pa.struct(list(fields.items()))


def unify(label: str, files: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """One schema for the files of a source (file name, its columns as operators see them).

    Columns may stand in any order; a column that is null everywhere in a file takes its type from the
    others; a file without any column has no rows and is passed over. Raises DataError when a column
    lacks or has another type in a file (columns that `schema:` names have one type in every file).
    """
    types: dict[str, pa.DataType] = {}
    owner: dict[str, str] = {}
    first: str | None = None
    for file, schema in files:
        if not schema.names:
            continue
        for field in schema:
            if first is not None and field.name not in types:
                raise _drift(label, field.name, file, field.type, f"{first} lacks it")
            known = types.get(field.name, pa.null())
            merged = merge(known, field.type, widen=False)
            if merged is None:
                raise _drift(label, field.name, file, field.type, f"{owner[field.name]} has it as {known}")
            if merged != known or first is None:
                owner[field.name] = file
            types[field.name] = merged
        for name in types:
            if name not in schema.names:
                raise _drift(label, name, owner[name], types[name], f"{file} lacks it")
        first = first or file
    return pa.schema(list(types.items()))


def _drift(label: str, column: str, has: str, dtype: pa.DataType, other: str) -> DataError:
    return DataError(
        f"{label}: the files differ in column {column!r}: it is {dtype} in {has}, {other}; say how to unify "
        f"them with `schema: {{{column}: <type>}}` (values are cast to it, missing ones become null)"
    )


def unknown_declared(settings: Settings, names: Iterable[str]) -> list[str]:
    """Columns that `schema:` names and no file has, each with what may have been meant."""
    known = list(names)
    declared = dict.fromkeys(name for name, _ in settings.schema)
    return [f"{name!r}{did_you_mean(name, known)}" for name in declared if name not in known]
