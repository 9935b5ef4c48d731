"""Kernels whose machine code, once compiled, is loaded in milliseconds without importing numba.

numba takes 0.2 s to import and 0.5 s until its first cached function runs. So the code of every kernel
that Python calls is kept as an object file too: in $NUMBA_CACHE_DIR, which tamis names after the kernels'
text and the CPU. Where that is not set, or a kernel cannot be kept (it allocates or raises, or it takes
other things than C-contiguous arrays, numbers and tuples of them), numba does what it always does.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[..., Any]
Kind = Any  # "int64" for a number, "uint8 1" for an array, a tuple of kinds for a tuple, None for others

_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
_NAMES: dict[Any, str] = {
    dtype: dtype.name for dtype in map(np.dtype, (np.bool_, *_INTEGERS, np.float32, np.float64))
}
_PYTHON = {bool: "bool", int: "int64", float: "float64"}
_LOCK = threading.RLock()


class Kernel:
    """A function that numba compiles when it is first called, with these options of `numba.njit`."""

    def __init__(self, function: Call, **options: Any) -> None:
        self.py_func, self.targetoptions = function, options
        self._entries: dict[Kind, Call] = {}

    def __call__(self, *args: Any) -> Any:
        """The function's value; it may write to the arrays that it gets."""
        kinds = _kind(args)
        entry = self._entries.get(kinds)
        if entry is None:
            with _LOCK:
                entry = self._entries[kinds] = self._entry(kinds)
        return entry(*args)

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own function."""
        import numba

        return numba.njit(**self.targetoptions)(self.py_func)

    @property
    def _numba_type_(self) -> Any:
        """What numba asks for where one kernel calls another."""
        return self.dispatcher._numba_type_

    def _entry(self, kinds: Kind) -> Call:
        folder = os.environ.get("NUMBA_CACHE_DIR")
        ours = self.targetoptions.get("_nrt", True)  # else a part, which only tests call from Python
        if kinds is None or not folder or not ours or os.environ.get("NUMBA_DISABLE_JIT") == "1":
            dispatcher: Call = self.dispatcher
            return dispatcher
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
        tag = hashlib.blake2b(repr((name, kinds)).encode(), digest_size=8).hexdigest()
        path = Path(folder) / "objects" / f"{name}-{tag}"
        if not path.is_file():
            from operators.kernels.keep_code import compiled

            _write(path, *compiled(self, kinds))
        head, _, code = path.read_bytes().partition(b"\n")
        return _load(json.loads(head), code) if code else self.dispatcher


class Instruction:
    """`numba.extending.intrinsic` of a function, made when a kernel that uses it is compiled."""

    def __init__(self, define: Call) -> None:
        self._define = define

    def __call__(self, *args: Any) -> Any:
        """Only kernels can use it."""
        raise NotImplementedError(f"{self._define.__name__} runs in compiled code only")

    @cached_property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target
        from numba.extending import intrinsic

        self.made = intrinsic(self._define)
        for context in (cpu_target.typing_context, cpu_target.target_context):
            context.refresh()
        return cpu_target.typing_context.resolve_value_type(self.made)


class _Types:
    """`numba.types`, imported by whoever looks into it."""

    def __getattr__(self, name: str) -> Any:
        import numba

        return getattr(numba.types, name)


types = _Types()


def _kind(arg: Any) -> Kind:
    """What decides how an argument is passed; None where only numba can pass it."""
    if isinstance(arg, np.ndarray):
        flags, name = arg.flags, _NAMES.get(arg.dtype)
        return f"{name} {arg.ndim}" if name and flags.c_contiguous and flags.aligned and arg.ndim else None
    if type(arg) is tuple:
        kinds = tuple([_kind(a) for a in arg])
        return None if None in kinds else kinds
    if isinstance(arg, np.generic):
        return _NAMES.get(arg.dtype)
    return _PYTHON.get(type(arg)) if type(arg) is not int or -(1 << 63) <= arg < 1 << 63 else None


def _pack(args: tuple[Any, ...], words: list[int], floats: list[float]) -> None:
    """The arguments as the compiled code takes them: arrays as address and shape."""
    for arg in args:
        if isinstance(arg, np.ndarray):
            words.append(arg.__array_interface__["data"][0])
            words += arg.shape
        elif isinstance(arg, tuple):
            _pack(arg, words, floats)
        elif isinstance(arg, float | np.floating):
            floats.append(float(arg))
        else:
            words.append(int(arg))


def _write(path: Path, about: dict[str, Any], code: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(json.dumps(about).encode() + b"\n" + code)
    os.replace(file.name, path)


_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)
_RESULTS: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda words, floats: None,
    "bool": lambda words, floats: bool(words[0]),
    "int": lambda words, floats: ctypes.c_int64(words[0]).value,
    "uint": lambda words, floats: words[0],
    "float": lambda words, floats: floats[0],
}


def _load(about: dict[str, Any], code: bytes) -> Call:
    """The object file's function, as Python calls it; the GIL is released meanwhile."""
    from llvmlite import binding

    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(about["symbol"])
    run, result = _FUNCTION(address), _RESULTS[about["result"]]

    def entry(*args: Any) -> Any:
        words, floats = [0], [0.0]  # the first one is for the result
        _pack(args, words, floats)
        w, f = (ctypes.c_uint64 * len(words))(*words), (ctypes.c_double * len(floats))(*floats)
        unused = ctypes.c_void_p()  # what numba's functions give, and where they leave an exception
        run(ctypes.byref(unused), ctypes.byref(unused), w, f)
        return result(w, f)

    return entry


@cache
def _engine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    # Kernels that are kept own no arrays, so this is never called; their code names it all the same.
    never = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p)
    binding.add_symbol("NRT_MemInfo_call_dtor", never.value)
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
