"""Which device a model runs on, seen from the process that runs it."""

from __future__ import annotations


def here(wanted: str | None) -> str:
    """The torch device for `wanted`; `auto` and None are a GPU where this process sees one, else the CPU.

    To be asked where the work is done: a worker may have what the driver has not."""
    if wanted not in ("auto", None):
        return str(wanted)
    try:
        import torch
    except ModuleNotFoundError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"
