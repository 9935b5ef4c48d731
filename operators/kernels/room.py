"""The memory budget of a worker: what whoever holds much may take of it.

A process has one budget for each task that it runs at a time. It is execution: how much is held at once
must never change a result. The engine sets it; nobody else does.
"""

from __future__ import annotations

UNBOUNDED = 1 << 62

_budget = UNBOUNDED


def allow(num_bytes: int) -> None:
    """From now on tasks of this process have so much, beyond what the process stands on."""
    global _budget
    _budget = num_bytes


def allowed() -> int:
    """Bytes that a task may take; UNBOUNDED where nobody said how many."""
    return _budget


def within(most: int, part: int) -> int:
    """`most`, or a `part`-th of the budget where that is less; at least 1."""
    return max(1, min(most, _budget // part))
