"""Claim: what 10 billion documents ask of a cluster follows from constants measured here; shuffles ask most.

    python -m workflows.bench.simulate [--documents 1e10] [--nodes 100] [--cores 32] ...

A calculation, not a run: documents like those of `workflows.bench.scale`, the DAG it runs, its constants
(scale_constants.json, see `scale_constants`), and the sizes that the code fixes. Prints time, network and
requests by stage, tasks and memory, and the stage and resource that take longest. On an object store a range
of an Arrow file is read by whole record batches; on a shared file system by pages, but every worker checks
each file that it opens against its checksum, so reads it whole, once. Stragglers, retries and other people's
load are not in it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.messages import CHUNK_ROWS, LEAST_ROWS, RANGES
from pipeline.shards import MOST_ROWS
from pipeline.shuffle import REDUCE_BYTES, SEGMENT_BYTES
from workflows.bench.scale_constants import CONSTANTS
from workflows.bench.tables import table

INDEX_BYTES = RANGES * 8 * 4 // 3  # of a message file's index, in base64
REQUESTS_AN_OPEN = 3  # of an Arrow file by ranges: its size, its footer, a batch


@dataclass(frozen=True)
class Cluster:
    """What there is. store_*: of the shared storage as a whole."""

    nodes: int
    cores: int  # of a node
    memory: float  # bytes of a node
    nic: float  # bytes/s of a node
    store_nic: float  # bytes/s
    store_requests: float  # a second
    latency: float  # seconds of a request
    kind: str  # object | shared


@dataclass(frozen=True)
class Stage:
    """What a stage asks for, in all: CPU-seconds, bytes through the network, requests."""

    cpu_s: float = 0.0
    network: float = 0.0
    requests: float = 0.0

    def __add__(self, other: Stage) -> Stage:
        return Stage(self.cpu_s + other.cpu_s, self.network + other.network, self.requests + other.requests)

    def seconds(self, on: Cluster) -> dict[str, float]:
        """How long each resource is busy with it."""
        return {
            "CPU": self.cpu_s / (on.nodes * on.cores),
            "network": self.network / min(on.nodes * on.nic, on.store_nic),
            "requests": self.requests / on.store_requests,
        }


@dataclass(frozen=True)
class Files:
    """The files of one shuffle: runs of messages, opened by each reducer; replies, opened by each home."""

    shards: int
    runs: float
    reducers: int
    chunks: int  # record batches of a run
    segments: int  # record batches of a reducer's replies
    sent: float  # bytes
    back: float

    @property
    def pairs(self) -> float:
        """Runs x reducers."""
        return self.runs * self.reducers


def files_of(found: Mapping[str, float], documents: float) -> Files:
    """How many files there are and how they are divided."""
    shards = math.ceil(documents / MOST_ROWS)
    runs = shards * found["runs_a_shard"]
    sent, back = (documents * found[f"{what}_bytes_a_document"] for what in ("message", "reply"))
    reducers = min(RANGES, max(1, math.ceil(sent / REDUCE_BYTES)))
    chunks = max(1, math.ceil(documents * found["messages_a_document"] / runs / CHUNK_ROWS))
    segments = max(1, math.ceil(back / reducers / SEGMENT_BYTES))
    return Files(shards, runs, reducers, chunks, segments, sent, back)


def shuffle(found: Mapping[str, float], documents: float, pair_cpu_s: float, on: Cluster) -> Stage:
    """One shuffle: messages out and in, replies out and in."""
    files = files_of(found, documents)
    indexes = files.pairs * INDEX_BYTES
    # A home reads the whole table of where replies begin, of every reducer, for each of its runs.
    offsets = files.pairs * 8 * files.segments * (files.runs + 1)
    if on.kind == "object":
        touched = 1 + files.chunks / files.reducers
        read = files.pairs * touched * files.sent / files.runs / files.chunks
        read_back = files.runs * files.back
    else:
        workers = on.nodes * on.cores
        read, read_back = min(workers, files.reducers) * files.sent, min(workers, files.shards) * files.back
    requests = files.pairs * (2 * REQUESTS_AN_OPEN + 2 + files.segments) + 4 * files.shards
    network = files.sent + files.back + read + read_back + indexes + offsets
    return Stage(files.pairs * pair_cpu_s, network, requests)


def stages(measured: Mapping[str, Any], documents: float, on: Cluster) -> dict[str, Stage]:
    """The stages of the whole run; the shuffles by name."""
    cpu, shards = measured["cpu_s_a_document"], math.ceil(documents / MOST_ROWS)
    text = documents * measured["source_bytes_a_document"]
    kept, out = (documents * measured[f"{what}_bytes_a_document"] for what in ("store", "export"))
    tasks = shards * measured["a_shard"]["tasks"]
    found = {
        "scans": Stage(
            documents * (cpu["scans"] + cpu["folds"]) + tasks * measured["a_shard"]["task_cpu_s"],
            text * measured["text_passes"] + 2 * kept,
            shards * (measured["text_passes"] * 4 + 2 * measured["a_shard"]["files"]),
        ),
        "export": Stage(documents * cpu["export"], text + 3 * out, 8 * shards),
        "books": Stage(documents * cpu["books"], kept, shards * measured["a_shard"]["files"]),
    }
    each = cpu["shuffles"] * documents / len(measured["shuffles"])
    for name, shuffled in measured["shuffles"].items():
        found[f"shuffle {name}"] = Stage(each) + shuffle(shuffled, documents, measured["cpu_s_a_pair"], on)
    return found


def driver(measured: Mapping[str, Any], documents: float, on: Cluster) -> dict[str, float]:
    """What the driver alone does: it hands out every task, and asks the store one request after the other.
    Its memory is known only from Ray: on the local engine the tasks are in it."""
    more, shards = measured["a_shard"], math.ceil(documents / MOST_ROWS)
    memory = measured["driver_bytes"] + shards * max(0.0, more["driver_peak_bytes"])
    return {
        "shards": shards,
        "tasks": shards * more["tasks"],
        "tasks_a_node": shards * more["tasks"] / on.nodes,
        "files": shards * more["files"],
        "cpu_s": shards * max(0.0, more["driver_cpu_s"]),
        "requests_s": shards * more["driver_requests"] * on.latency,
        **({"memory_bytes": memory} if measured["driver_of"] == "ray" else {}),
        "context_bytes": shards * more["context_bytes"],
        "fetched_bytes": shards * more["fetched_bytes"],
    }


def worker_bytes(measured: Mapping[str, Any], documents: float) -> tuple[float, str]:
    """The most that a task holds, and where: a merge keeps rows of every run, however many there are."""
    held = {}
    for name, found in measured["shuffles"].items():
        files, many = files_of(found, documents), documents * found["messages_a_document"]
        rows = min(LEAST_ROWS, many / files.pairs)  # of each run
        row = found["message_bytes_a_document"] / found["messages_a_document"] if many else 0.0
        held[name] = files.runs * (3 * rows * row + INDEX_BYTES)  # held, sorted, given out
    most = max(held, key=lambda name: held[name])
    return measured["worker_peak_bytes"] + held[most], most


def report(measured: Mapping[str, Any], documents: float, on: Cluster) -> str:
    """The tables, and the bottleneck in a sentence."""
    found = stages(measured, documents, on)
    shuffles = sum((s for name, s in found.items() if name.startswith("shuffle ")), Stage())
    lines = {name: s for name, s in found.items() if not name.startswith("shuffle ")} | {"shuffles": shuffles}
    head = (
        "stage",
        "CPU h",
        "network, TB",
        "a node, GB",
        "requests, M",
        "CPU, h",
        "network, h",
        "requests, h",
    )
    rows = []
    for name, stage in lines.items():
        hours = [f"{seconds / 3600:.2f}" for seconds in stage.seconds(on).values()]
        sizes = [f"{stage.network / 1e12:,.1f}", f"{stage.network / on.nodes / 1e9:,.0f}"]
        rows.append([name, f"{stage.cpu_s / 3600:,.0f}", *sizes, f"{stage.requests / 1e6:,.1f}", *hours])
    alone, (held, where) = driver(measured, documents, on), worker_bytes(measured, documents)
    rows2 = [[name, f"{value:,.3g}"] for name, value in alone.items()]
    rows2.append([f"worker_bytes (most in {where})", f"{held:,.3g}"])
    rows2.append(["workers of that size a node", f"{on.memory / held:,.0f} of {on.cores}"])
    busy = {
        (name, kind): seconds for name, stage in found.items() for kind, seconds in stage.seconds(on).items()
    }
    busy |= {("driver", kind): alone[f"{kind}_s"] for kind in ("cpu", "requests")}
    (name, kind), longest = max(busy.items(), key=lambda item: item[1])
    total = sum(max(stage.seconds(on).values()) for stage in found.values()) + max(
        alone["cpu_s"], alone["requests_s"]
    )
    said = (
        f"{documents:.0e} documents on {on.nodes} nodes of {on.cores} cores, {on.kind} store: about "
        f"{total / 3600:,.1f} h, without overlap; the bottleneck is {kind} of {name}, {longest / 3600:,.1f} h"
    )
    return "\n\n".join(
        [table(head, rows), table((f"driver ({measured['driver_of']}) and workers", ""), rows2), said]
    )


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=float, default=1e10)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--cores", type=int, default=32, help="of a node")
    parser.add_argument("--memory-gb", type=float, default=128, help="of a node")
    parser.add_argument("--nic-gbit", type=float, default=25, help="of a node")
    parser.add_argument("--store-gbit", type=float, default=1000, help="of the shared storage")
    parser.add_argument("--store-requests", type=float, default=50_000, help="a second, all nodes together")
    parser.add_argument("--latency-ms", type=float, default=20, help="of a request")
    parser.add_argument("--store", choices=("object", "shared"), default="object")
    parser.add_argument("--constants", type=Path, default=CONSTANTS)
    asked = parser.parse_args(given)
    on = Cluster(
        asked.nodes, asked.cores, asked.memory_gb * 1e9, asked.nic_gbit * 1e9 / 8, asked.store_gbit * 1e9 / 8,
        asked.store_requests, asked.latency_ms / 1e3, asked.store,
    )  # fmt: skip
    print(report(json.loads(asked.constants.read_text()), asked.documents, on))


if __name__ == "__main__":
    main()
