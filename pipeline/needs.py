"""What of a run takes more memory than a budget gives: told by the plan, refused where nothing would work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.contract import FitOp, FoldOp
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.manifest import Manifest
from pipeline.nodes import Node
from pipeline.units import count, nbytes

FILES_BYTES = (
    192 << 20
)  # a row group of 64 MB as rows, in one piece, and compressed; and what is merged into it
STATES = 3  # of a fold that a task holds: its own, a batch's, the one that they become
ROW_BYTES, NUMBER_BYTES = 50, 16  # of a fit's rows: who they are, and each number; twice, as they are joined


@dataclass(frozen=True)
class Need:
    """Somebody whose memory no budget makes smaller. bytes: at most; of a fit, at least."""

    who: str
    bytes: int
    why: str
    fix: str


def least(config: Config, convert: bool) -> int:
    """The budget without which the run cannot work, whatever its nodes are; 0 where there is none."""
    tables = [e for e in config.exports if not e.format.startswith("jsonl")]
    return FILES_BYTES if tables or convert or config.train is not None else 0


def needs(graph: Graph, manifests: Mapping[str, Manifest]) -> list[Need]:
    """What nodes take that batches and spilling cannot bound, by what their operators say of themselves."""
    found = (_of(node, manifests[node.data].rows) for node in graph.nodes.values())
    return [need for need in found if need is not None]


def _of(node: Node, rows: int) -> Need | None:
    operator = node.build()
    who = f"{node.name} ({node.op})"
    if isinstance(operator, FoldOp):
        size = operator.state_bytes
        why = f"its summary of all rows has up to {nbytes(size)}, and a task holds {STATES}"
        return Need(who, STATES * size, why, "lower what bounds it (see tamis ops)")
    if isinstance(operator, FitOp):
        size = rows * (ROW_BYTES + NUMBER_BYTES * len(node.reads))
        why = f"one task gathers the columns of up to {count(rows)} rows"
        return Need(who, size, why, "choose among fewer rows (a filter above it)")
    return None


def check_least(config: Config, memory: int, convert: bool) -> None:
    """Raises ConfigError for a budget with which the run cannot work."""
    if memory < (wanted := least(config, convert)):
        raise ConfigError(
            f"memory {nbytes(memory)} a worker is too little: a task that writes Parquet, Arrow or packed "
            f"files holds a row group of 64 MB; the least that works is --memory {wanted >> 20}MiB"
        )


def warnings(memory: int, found: Sequence[Need]) -> list[str]:
    """A line for everybody who may take more than the budget: how much, why, and what to do."""
    return [
        f"{n.who} may take {nbytes(n.bytes)}: {n.why}; --memory {_rounded(n.bytes)}, or {n.fix}"
        for n in found
        if n.bytes > memory
    ]


def _rounded(size: int) -> str:
    return f"{-(-size >> 20)}MiB" if size < 10 << 30 else f"{-(-size >> 30)}GiB"
