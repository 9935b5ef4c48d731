"""Finds operators: the ones of this package by their file's name, a user's own by its path."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import linecache
import re
import sys
import threading
import traceback
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import ValidationError

from operators import contract
from operators.contract import ColumnOp, Operator
from pipeline.errors import ConfigError
from pipeline.fields import Problem, booleans, problems_of, whole_counts
from pipeline.suggest import did_you_mean

FLOORS = ("operators", "gpu_ops")
PACKAGES = Path(__file__).parent.parent
SHAPES: dict[str, type[Operator]] = {
    name: kind
    for name, kind in vars(contract).items()
    if isinstance(kind, type) and issubclass(kind, Operator) and kind not in (Operator, ColumnOp)
}
# The contract's shapes, and those that a package makes of them, end in Op or Recipe.
_CLASS = re.compile(r"^class [A-Z]\w*\([^)]*\b(?:[A-Z]\w*Op|\w*Recipe)\b", re.MULTILINE)
_LOCK = threading.RLock()


@cache
def names() -> dict[str, str]:
    """Operator name -> module name, from the packages' folders, without importing the modules."""
    found: dict[str, str] = {}
    for floor in FLOORS:
        for path in sorted((PACKAGES / floor).glob("[a-z]*.py")):
            if path.stem == "contract" or not _CLASS.search(path.read_text("utf-8")):
                continue
            if path.stem in found:
                raise ConfigError(
                    f"{path}: an operator of that name is also in {found[path.stem]}; rename one"
                )
            found[path.stem] = f"{floor}.{path.stem}"
    return found


@dataclass(frozen=True)
class OpSpec:
    """Which operator, in a form that travels: workers rebuild the class from it.

    name: the file's name. source: the text of a user's file, None for an operator of this package.
    path: where the user's file lay, for tracebacks only.
    """

    name: str
    source: str | None = field(default=None, repr=False)
    path: str = field(default="", compare=False)

    @property
    def identity(self) -> str:
        """The name, and for a user's operator a hash of its source: whichever file it came from."""
        return self.name if self.source is None else f"{self.name}@{_digest(self.source)}"

    def cls(self) -> type[Operator]:
        """The operator's class; ConfigError when a user's file does not load or has not one operator."""
        with _LOCK:
            return _load(self)

    def build(self, fields: dict[str, Any]) -> Operator:
        """The operator with these fields; ConfigError says which fields are wrong and what they take."""
        operator, problems = self.check(fields)
        if operator is None:
            raise ConfigError("\n".join(problem.text for problem in problems))
        return operator

    def check(self, fields: dict[str, Any]) -> tuple[Operator | None, list[Problem]]:
        """The operator, or None and every problem with its place in the fields."""
        key = (self, json.dumps(fields, sort_keys=True, default=repr))
        with _LOCK:
            if key in _BUILT:
                return _BUILT[key], []
            model = self.cls()
            if wrong := booleans(model, fields, self.name):
                return None, wrong
            try:
                operator = model.model_validate(whole_counts(model, fields))
            except ValidationError as error:
                return None, problems_of(error, model, self.name)
            if len(_BUILT) >= 4096:
                _BUILT.clear()
            return _BUILT.setdefault(key, operator), []


_BUILT: dict[tuple[OpSpec, str], Operator] = {}


def find(op: str, base: Path) -> OpSpec:
    """The operator called `op`, or the one in the file `op` (`./my_op.py`, seen from the folder `base`).

    ConfigError when there is none, with what may have been meant."""
    if op.endswith(".py") or "/" in op:
        return _find_file(base / Path(op).expanduser())
    if op in names():
        return OpSpec(op)
    if (base / f"{op}.py").is_file():
        raise ConfigError(f"no operator {op!r}; did you mean the file './{op}.py'?")
    raise ConfigError(f"no operator {op!r}{did_you_mean(op, names())}")


def _find_file(path: Path) -> OpSpec:
    if not str(path).isprintable():
        raise ConfigError(f"{str(path)!r} cannot name an operator file")
    try:
        source = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"no operator file {path}: {error.strerror}; write it, or name one of `tamis ops`"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    if not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        raise ConfigError(f"{path}: an operator's file is named like [a-z][a-z0-9_]*.py")
    spec = OpSpec(path.stem, source, str(path.resolve()))
    spec.cls()
    return spec


@cache
def _load(spec: OpSpec) -> type[Operator]:
    if spec.source is not None:
        module = _user_module(spec)
        return _only_operator(module, spec.path or f"{spec.name}.py")
    if spec.name not in names():
        raise ConfigError(f"no operator {spec.name!r}{did_you_mean(spec.name, names())}")
    module_name = names()[spec.name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(spec.name, module_name, error)) from error
    return _only_operator(module, str(module.__file__))


def _missing(name: str, module_name: str, error: ModuleNotFoundError) -> str:
    extra = "gpu" if module_name.startswith("gpu_ops.") else "all"
    return f"{name} needs the package {error.name!r}, which is not installed; pip install 'tamis[{extra}]'"


def _user_module(spec: OpSpec) -> ModuleType:
    """Runs the text as a module of its own name, so that annotations, pickles and numba find it."""
    source = spec.source or ""
    name = f"tamis_user_{spec.name}_{_digest(source)}"
    if name in sys.modules:
        return sys.modules[name]
    path = _on_disk(spec, source)
    shown = spec.path or path
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigError(f"{shown}:{line}: not Python: {getattr(error, 'msg', error)}") from None
    module = ModuleType(name)
    module.__file__ = path
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:  # a file that exits must not end tamis, least of all well
        del sys.modules[name]
        line = _line_in(error, path)
        raise ConfigError(f"{shown}:{line}: loading failed: {type(error).__name__}: {error}") from error
    return module


def _on_disk(spec: OpSpec, source: str) -> str:
    """A file with this text: the user's own while it has it, else a copy, because numba caches only
    functions whose file it finds."""
    from pipeline.numba_cache import keep_source

    try:
        if spec.path and Path(spec.path).read_text("utf-8") == source:
            return spec.path
    except (OSError, UnicodeDecodeError):
        pass
    return keep_source(f"{spec.name}.py", source, _digest(source))


def _only_operator(module: ModuleType, path: str) -> type[Operator]:
    found = [
        kind
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, tuple(SHAPES.values()))
        and kind.__module__ == module.__name__
        and not name.startswith("_")
    ]
    if len(found) == 1:
        return cast("type[Operator]", found[0])
    if not found:
        raise ConfigError(
            f"{path}:1: no operator: write one public class that subclasses {', '.join(SHAPES)}"
        )
    raise ConfigError(
        f"{path}:{_class_line(module, found[1])}: {len(found)} operators, a file holds one: "
        f"{', '.join(kind.__name__ for kind in found)}; move the others, or start their names with _"
    )


def _class_line(module: ModuleType, kind: type) -> int:
    tree = ast.parse("".join(linecache.getlines(str(module.__file__))))
    return next(
        node.lineno for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )


def _line_in(error: BaseException, path: str) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return (lines[-1] if lines else None) or 1


def _digest(source: str) -> str:
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
