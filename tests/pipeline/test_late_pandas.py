"""pandas stays out until somebody imports it, and then pyarrow knows it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np, pyarrow as pa
from pipeline.late_pandas import leave_out
leave_out()
leave_out()
pa.array(np.zeros(3)), pa.chunked_array([[1]]).to_numpy(), pa.table({"a": [1]}).filter(pa.array([True]))
assert "pandas" not in sys.modules
"""
USES = {
    "a series": "import pandas; print(pa.array(pandas.Series([1.0, float('nan')])).null_count)",
    "to_pandas": "print(len(pa.table({'a': [1]}).to_pandas()))",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_pandas_comes_when_it_is_asked_for(use: str) -> None:
    pytest.importorskip("pandas")
    said = subprocess.run([sys.executable, "-c", SCRIPT + use], check=True, stdout=subprocess.PIPE)
    assert said.stdout.decode().strip() == "1"
