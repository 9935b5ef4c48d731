"""How kernels are compiled: code in a cache on disk, the GIL released; numba comes only to compile."""

from __future__ import annotations

from typing import Any

from operators.kernels.kept_code import Kernel


def kernel(function: Any) -> Any:
    """Compiles a function that Python calls."""
    return Kernel(function, nogil=True, cache=True)


def part(function: Any) -> Any:
    """Compiles a function that only kernels call: without the wrappers by which Python would, and without
    reference counts (they can cost two thirds of the time), so it must not make arrays."""
    bare = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return Kernel(function, nogil=True, cache=True, **bare)


def inlined(function: Any) -> Any:
    """Puts a function into the kernels that call it: a `part` is compiled once more with each caller."""
    return Kernel(function, nogil=True, _nrt=False, inline="always")
