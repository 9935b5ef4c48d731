"""What of a run takes more memory than a budget gives: told by the plan, refused where nothing would work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from operators.contract import ColumnOp, FitOp, FoldOp, LoopOp
from pipeline.catalog import find
from pipeline.config import Config, ExportConfig
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.manifest import Manifest
from pipeline.nodes import MAIN, Node
from pipeline.packed import PACKED
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


def needs(config: Config, graph: Graph, manifests: Mapping[str, Manifest]) -> list[Need]:
    """What batches and spilling cannot bound: what nodes take, by what their operators say of themselves,
    and the windows of packed exports."""
    found = []
    for node in graph.nodes.values():
        found += list(_of(node, node.build(), manifests[node.data].rows, config))
    for export in config.exports:
        if export.format == PACKED and export.packing == "best_fit":
            found.append(_window(export, manifests[MAIN]))
    return found


def _of(node: Node, operator: ColumnOp, rows: int, config: Config, body: str = "") -> Iterator[Need]:
    who = f"{node.name} ({node.op}{body and f', {body}'})"
    if isinstance(operator, FoldOp):
        size = operator.state_bytes
        why = f"its summary of all rows has up to {nbytes(size)}, and a task holds {STATES}"
        yield Need(who, STATES * size, why, "lower what bounds it (see tamis ops)")
    elif isinstance(operator, FitOp):
        size = rows * (ROW_BYTES + NUMBER_BYTES * len(node.reads))
        why = f"one task gathers the columns of up to {count(rows)} rows"
        yield Need(who, size, why, "choose among fewer rows (a filter above it)")
    elif isinstance(operator, LoopOp):
        for part in operator.step(0):
            inner = find(part.op, config.base).build(part.fields)
            if isinstance(inner, FoldOp):
                yield from _of(node, inner, rows, config, part.op)


def _window(export: ExportConfig, manifest: Manifest) -> Need:
    """Best fit holds the texts' tokens (4 bytes each, of about as many bytes of text), in one piece too."""
    average = sum(shard.bytes for shard in manifest.shards) // max(1, manifest.rows)
    documents = min(export.window, manifest.rows)
    why = f"best fit holds the tokens of {count(documents)} documents"
    return Need(f"export {export.path}", 2 * documents * average, why, "a smaller `window`")


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
