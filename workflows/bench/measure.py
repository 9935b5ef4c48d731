"""Runs one command and writes what it cost: `python -S measure.py OUT.json LOG COMMAND...`.

A program of its own that imports next to nothing, because a process inherits the peak memory of whoever
started it. CPU-seconds are user plus system time of the command and of all its descendants that were
waited for; the peak is the largest resident size of any one of them.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    out, log, *command = sys.argv[1:]
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    cost = {
        "exit": os.waitstatus_to_exitcode(status),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - began,
        "peak_bytes": usage.ru_maxrss * 1024,  # Linux counts kibibytes
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(cost, file)


if __name__ == "__main__":
    main()
