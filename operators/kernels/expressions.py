"""Arithmetic over columns, read from a line of text: parsed by Python's own grammar, never run by Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Values = Mapping[str, Floats]

MOST_CHARACTERS, _DEEPEST = 2_000, 100
_MANY = 64  # arguments of min and max

_OPERATORS: Mapping[type[ast.AST], Any] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power,
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}  # fmt: skip
# Name -> (function, fewest and most arguments).
_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int]] = {
    "log": (np.log, 1, 1), "log2": (np.log2, 1, 1), "log10": (np.log10, 1, 1), "log1p": (np.log1p, 1, 1),
    "exp": (np.exp, 1, 1), "sqrt": (np.sqrt, 1, 1), "abs": (np.abs, 1, 1), "min": (np.minimum, 2, _MANY),
    "max": (np.maximum, 2, _MANY), "where": (np.where, 3, 3),
}  # fmt: skip
ALLOWED = (
    "numbers, columns (`loss`, `node.column`), + - * / **, < <= > >= == !=, and, or, not, parentheses, "
    + ", ".join(f"{name}()" for name in _FUNCTIONS)
)


def columns_of(text: str) -> tuple[str, ...]:
    """The names of the columns of an expression, as they come first.

    ValueError, with the place, for whatever is not `ALLOWED`."""
    return tuple(dict.fromkeys(_names(_parsed(text))))


def evaluate(text: str, values: Values) -> Floats:
    """(n,) float64 of n rows; NaN wherever the outcome depends on a NaN.

    values: the columns' names -> (n,) float64. Arithmetic is IEEE 754's: 1 / 0 is infinite, the logarithm of
    a negative number NaN. Comparisons give 1 or 0, and NaN beside a NaN; `and`, `or`, `not` take any number
    but 0 as true; `where(condition, a, b)` is NaN where the condition is, whatever a and b are there, and
    does not care about the one that it does not choose.
    """
    rows = len(next(iter(values.values())))
    with np.errstate(all="ignore"):
        return np.broadcast_to(_value(_parsed(text), values), (rows,)).astype(np.float64)


@lru_cache(maxsize=256)
def _parsed(text: str) -> ast.expr:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"the formula has {len(text)} characters; {MOST_CHARACTERS} are the most")
    flat = text.translate(dict.fromkeys(b"\t\n\r\f", " "))
    indent = len(flat) - len(flat.lstrip(" "))
    if "#" in flat:
        _refuse(text, flat.index("#"), "'#' is not allowed")
    try:
        tree = ast.parse(flat[indent:], mode="eval").body
    except SyntaxError as error:
        # Where the line ends too soon, Python names no place.
        place = indent + error.offset - 1 if error.offset else len(text.rstrip())
        _refuse(text, place, error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        _refuse(text, 0, str(error) or "it cannot be read")
    _check(text, indent, tree, 0)
    if not any(True for _ in _names(tree)):
        _refuse(text, 0, "it names no column")
    return tree


def _check(text: str, indent: int, node: ast.expr, depth: int) -> None:
    """ValueError for the first thing that is not allowed, in reading order."""

    def refuse(what: str) -> NoReturn:
        line = text.translate(dict.fromkeys(b"\t\n\r\f", " "))[indent:].encode()
        _refuse(text, indent + len(line[: node.col_offset].decode("utf-8", "replace")), what)

    if depth > _DEEPEST:
        refuse(f"it is nested more than {_DEEPEST} deep")
    match node:
        case ast.Constant(value=bool() | None as word):
            refuse(f"{word} is not allowed")
        case ast.Constant(value=int() | float() as number):
            try:
                float(number)
            except OverflowError:
                refuse("the number is too large for float64")
        case ast.Name() | ast.Attribute(value=ast.Name()):
            pass
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            pass
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() | ast.Not()) | ast.BoolOp():
            pass
        case ast.Compare(ops=ops) if all(type(op) in _OPERATORS for op in ops):
            pass
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            least, most = _FUNCTIONS[name][1:]
            if any(isinstance(arg, ast.Starred) for arg in node.args) or not least <= len(node.args) <= most:
                takes = f"{least}" if least == most else f"{least} to {most}"
                refuse(f"{name}() takes {takes} arguments, not {len(node.args)}")
        case ast.Call():
            refuse(f"no function {ast.unparse(node.func)!r}")
        case ast.IfExp():
            refuse("'if' is not allowed, write where(condition, a, b)")
        case _:
            refuse(f"{ast.unparse(node)!r} is not allowed")
    for child in _children(node):
        _check(text, indent, child, depth + 1)


def _refuse(text: str, place: int, what: str) -> NoReturn:
    place = min(max(place, 0), len(text))
    around = text[place : place + 20]
    near = f", near {around!r}" if around.strip() else ""
    raise ValueError(
        f"the formula {text!r} cannot be read at character {place + 1}{near}: {what}; it may have {ALLOWED}"
    )


def _children(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
        case ast.BoolOp():
            return node.values
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Call():
            return node.args
    return []


def _column(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=part), attr=name):
            return f"{part}.{name}"
    return None


def _names(node: ast.expr) -> Iterator[str]:
    if (name := _column(node)) is not None:
        yield name
    for child in _children(node):
        yield from _names(child)


def _value(node: ast.expr, values: Values) -> Any:
    if isinstance(node, ast.Constant):
        return np.float64(node.value)  # type: ignore[arg-type]
    if (name := _column(node)) is not None:
        return values[name]
    parts = [_value(child, values) for child in _children(node)]
    match node:
        case ast.BinOp():
            return _OPERATORS[type(node.op)](*parts)
        case ast.UnaryOp(op=ast.Not()):
            return _known(np.equal(parts[0], 0), parts)
        case ast.UnaryOp():
            return np.negative(parts[0]) if isinstance(node.op, ast.USub) else parts[0]
        case ast.BoolOp():
            both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return _known(_folded(both, parts), parts)
        case ast.Compare():
            pairs = zip(node.ops, parts[:-1], parts[1:], strict=True)
            return _known(_folded(np.logical_and, [_OPERATORS[type(op)](a, b) for op, a, b in pairs]), parts)
        case ast.Call(func=ast.Name(id="where")):
            return np.where(np.isnan(parts[0]), np.nan, np.where(parts[0] != 0, parts[1], parts[2]))
        case ast.Call(func=ast.Name(id=name)):
            call = _FUNCTIONS[name][0]
            return call(*parts) if len(parts) == 1 else _folded(call, parts)
    raise TypeError(type(node).__name__)  # `_check` lets nothing else through


def _folded(call: Callable[..., Any], parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = call(total, part)
    return total


def _known(truth: Any, parts: list[Any]) -> Any:
    """1 and 0, NaN where any part is NaN."""
    unknown = _folded(np.logical_or, [np.isnan(part) for part in parts])
    return np.where(unknown, np.nan, np.where(truth, 1.0, 0.0))
