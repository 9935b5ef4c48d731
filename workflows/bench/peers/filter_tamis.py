"""tamis: quality_rules, each group by itself and all in one pass."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from operators.quality_rules import QualityRules
from workflows.bench.peers.filter_task import GROUPS, WARM_UP, FilterTask, timed


def main() -> None:
    task = FilterTask.from_command_line()
    batch = pa.RecordBatch.from_pydict({"text": task.texts().cast(pa.large_string())})
    verdicts, cpu_s = {}, {}
    for name, rules in [*((group, (group,)) for group in GROUPS), ("all", GROUPS)]:
        operator = QualityRules.model_validate({"rules": rules})
        operator.columns(batch.slice(0, WARM_UP), {})
        cpu_s[name], columns = timed(lambda judge=operator: judge.columns(batch, {}))  # type: ignore[misc]
        verdicts[name] = _reasons(columns["drop"])
    task.write(verdicts, cpu_s)


def _reasons(drop: pa.DictionaryArray) -> Any:
    return drop.cast(pa.string()).to_pylist()


if __name__ == "__main__":
    main()
