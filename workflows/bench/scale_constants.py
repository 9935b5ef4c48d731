"""What a document, a shard, a task and a pair of files cost, from the figures of `workflows.bench.scale`.

    python -m workflows.bench.scale_constants OUT

OUT holds slope-local.json, shards-local.json and, if it was measured, shards-ray.json. Without the last one
the driver is that of the local engine, which hands tasks to threads: what Ray takes for a task is not in it.
Writes scale_constants.json beside this file, which `workflows.bench.simulate` reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflows.bench.dedup import machine

CONSTANTS = Path(__file__).with_suffix(".json")
STAGES = {
    "scans": ("tasks.scan",),
    "shuffles": ("shuffle.reduce", "shuffle.home"),
    "folds": ("tasks.merge_states", "tasks.finish_fold"),
    "export": ("export.partition", "export.merge_file"),
    "books": ("books.tally", "details.details", "guard.tally"),
}

Figures = Mapping[str, Any]


def phases_cpu(run: Figures, names: Sequence[str]) -> float:
    """CPU-seconds of the phases of these names."""
    return float(sum(run["phases"].get(f"pipeline.{name}", {"cpu_s": 0})["cpu_s"] for name in names))


def constants(slope: Figures, local: Figures, ray: Figures) -> dict[str, Any]:
    """The constants, each with its unit in its name."""
    start, largest = slope["start"], slope["runs"][-1]
    documents = largest["documents"]
    few, many = local["runs"]
    cpu = {
        stage: (phases_cpu(largest, names) - phases_cpu(start, names)) / documents
        for stage, names in STAGES.items()
    }
    return {
        "machine": machine(),
        "documents": documents,
        "driver_of": ray["runs"][0]["engine"],
        "cpu_s_a_document": cpu,
        "source_bytes_a_document": largest["source_bytes"] / documents,
        "store_bytes_a_document": largest["store_bytes"] / documents,
        "export_bytes_a_document": largest["export_bytes"] / documents,
        "text_passes": many["text_passes"],
        "shuffles": {name: _shuffle(found, largest) for name, found in largest["shuffles"].items()},
        "worker_peak_bytes": ray["runs"][0]["task_peak_bytes"],
        "cpu_s_a_pair": _a_pair(few, many),
        "driver_bytes": ray["runs"][0]["driver_peak_bytes"],
        "a_shard": ray["a_shard"],
        "start_cpu_s": start["cost"]["cpu_s"],
    }


def _shuffle(found: Figures, run: Figures) -> dict[str, float]:
    return {
        "messages_a_document": found["messages"] / run["documents"],
        "message_bytes_a_document": found["messages_bytes"] / run["documents"],
        "reply_bytes_a_document": found["replies_bytes"] / run["documents"],
        "runs_a_shard": found["runs"] / run["shards"],
    }


def _a_pair(few: Figures, many: Figures) -> float:
    """CPU-seconds of a reducer for one more run that it opens and merges, the messages being the same."""

    def pairs(run: Figures) -> float:
        return float(sum(s["runs"] * s["reducers"] for s in run["shuffles"].values()))

    def more(value: Callable[[Figures], float]) -> float:
        return value(many) - value(few)

    return max(0.0, more(lambda run: phases_cpu(run, ["shuffle.reduce"])) / more(pairs))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args(given).out
    slope, local = (json.loads((out / f"{name}-local.json").read_text()) for name in ("slope", "shards"))
    ray = out / "shards-ray.json"
    found = constants(slope, local, json.loads(ray.read_text()) if ray.exists() else local)
    CONSTANTS.write_text(json.dumps(found, indent=1) + "\n")
    print(CONSTANTS)


if __name__ == "__main__":
    main()
