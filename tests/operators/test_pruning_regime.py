"""What is told of the rows for each parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.pruning_regime import PruningRegime


@pytest.mark.parametrize(
    ("keep", "parameters", "told"),
    [
        ("hard", 4, "40 rows, 10 for each parameter: many, so that hard rows teach more"),
        ("easy", 4, "many, so that hard rows teach more; but the easy ones are kept"),
        ("easy", 20, "40 rows, 2 for each parameter: few, so that easy rows teach more"),
        ("hard", 20, "few, so that easy rows teach more; but the hard ones are kept"),
        ("hard", 8, "between few and many"),
        ("hard", None, "name `parameters`"),
    ],
)
def test_it_says_which_rows_teach_more(keep: Any, parameters: int | None, told: str) -> None:
    op = PruningRegime(keep=keep, parameters=parameters)
    batch = pa.record_batch({"uid": pa.array(np.arange(20))})
    state = op.finish(op.merge(op.fold(batch, {}), op.fold(batch, {})), {})
    assert told in op.tell(state)
