"""What the process keeps of the memory that it frees."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from pipeline import memory

if KEEP:
    memory.keep_freed()


def round():
    return [np.ones(1_500_000, np.uint8) for _ in range(20)]


round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Pages that five rounds of arrays took from the system after a first one."""
    program = PROGRAM.replace("KEEP", str(keep))
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator"
)
def test_freed_arrays_are_used_again_instead_of_new_pages() -> None:
    assert faults(keep=True) < faults(keep=False) / 10
