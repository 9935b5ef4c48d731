"""Compiles a kernel, once, to an object file that needs neither numba nor Python to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import binding
from numba import carray as _carray  # type: ignore[attr-defined]
from numba import types as _types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from operators.kernels.kept_code import Kernel, Kind

carray: Any = _carray
types: Any = _types
# What the C library has, and what is never called (see kept_code._engine).
_KNOWN = {"memcpy", "memmove", "memset", "memcmp", "exp", "log", "log2", "pow", "NRT_MemInfo_call_dtor"}


@intrinsic
def _pointer(typing_context: Any, word: Any) -> Any:
    """An address as a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


def compiled(kernel: Kernel, kinds: Kind) -> tuple[dict[str, Any], bytes]:
    """({"symbol", "result"}, object file) of a C function (void *, void *, int64 *words, double *floats):
    it takes the arguments in turn from the second word or float on, and leaves the result in the first.
    The object file is empty where the kernel needs numba's runtime (it allocates or raises) or gives
    something else than a number; "needs" says what.
    """
    result = _result(kernel, kinds)
    if result is None:
        return {"needs": ["another kind of result"]}, b""
    taken = {"words": 1, "floats": 1}
    arguments = ", ".join(_expression(kind, taken) for kind in kinds)
    source = (
        f"def entry(w, f):\n"
        f"    words, floats = carray(w, ({taken['words']},)), carray(f, ({taken['floats']},))\n"
        f"    {_RESULTS[result].format(f'kernel({arguments})')}\n"
    )
    scope: dict[str, Any] = {"carray": carray, "np": np, "kernel": kernel, "_pointer": _pointer}
    exec(source, scope)
    entry = numba.njit(**kernel.targetoptions | _BARE)(scope["entry"])
    entry.compile((types.CPointer(types.int64), types.CPointer(types.float64)))
    (overload,) = entry.overloads.values()
    module, name = binding.parse_assembly(overload.library.get_llvm_str()), overload.fndesc.llvm_func_name
    needs = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")} - _KNOWN
    if any("pickle" in variable.name for variable in module.global_variables):
        needs.add("an exception")  # numba keeps them pickled
    if needs:
        return {"needs": sorted(needs)}, b""
    code = overload.library.codegen._tm.emit_object(module)
    return {"symbol": name, "result": result}, code


# Not numba's own cache, which wants a source file, and none of the ways by which Python would call.
_BARE = {"cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_RESULTS = {
    "none": "{}",
    "bool": "words[0] = 1 if {} else 0",
    "int": "words[0] = {}",
    "uint": "words[0] = np.int64({})",
    "float": "floats[0] = {}",
}


def _result(kernel: Kernel, kinds: Kind) -> str | None:
    """What the kernel gives for such arguments; None where an entry cannot pass it on."""
    dispatcher = kernel.dispatcher
    signature = tuple(_type(kind) for kind in kinds)
    dispatcher.compile(signature)
    given = dispatcher.overloads[signature].signature.return_type
    if isinstance(given, types.Integer):
        return "int" if given.signed else "uint"
    known = {types.none: "none", types.boolean: "bool", types.float64: "float", types.float32: "float"}
    return known.get(given)


def _type(kind: Kind) -> Any:
    if isinstance(kind, tuple):
        return types.Tuple([_type(k) for k in kind])
    name, _, dimensions = kind.partition(" ")
    number = types.boolean if name == "bool" else getattr(types, name)
    return types.Array(number, int(dimensions), "C") if dimensions else number


def _expression(kind: Kind, taken: dict[str, int]) -> str:
    """The argument out of `words` and `floats`."""
    if isinstance(kind, tuple):
        return f"({''.join(_expression(k, taken) + ', ' for k in kind)})"
    name, _, dimensions = kind.partition(" ")
    if dimensions:
        address = _next(taken, "words")
        shape = "".join(f"{_next(taken, 'words')}, " for _ in range(int(dimensions)))
        return f"carray(_pointer({address}), ({shape}), np.{'bool_' if name == 'bool' else name})"
    if name.startswith("float"):
        return f"np.{name}({_next(taken, 'floats')})"
    word = _next(taken, "words")
    return f"({word} != 0)" if name == "bool" else f"np.{name}({word})"


def _next(taken: dict[str, int], of: str) -> str:
    taken[of] += 1
    return f"{of}[{taken[of] - 1}]"
