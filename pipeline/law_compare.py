"""What a run's nodes gave, and whether two runs gave the same."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import Artifact, ScoreOp
from pipeline.law_bench import BrokenLaw, Outcome
from pipeline.nodes import MAIN, Node
from pipeline.tasks import artifact_name
from pipeline.view import ShardView

MEASURED = ("ScoreOp", "FitOp")


@dataclass(frozen=True)
class Given:
    """What one node gave: its columns over the rows that are alive before it, and its artifact."""

    node: Node
    columns: Mapping[str, list[Any]]  # `uid` is one of them
    artifact: Artifact | None


def given(outcome: Outcome) -> dict[str, Given]:
    """Node -> what it gave."""
    return {name: _given(outcome, node) for name, node in outcome.nodes.items()}


def _given(outcome: Outcome, node: Node) -> Given:
    place = artifact_name(node.key)
    artifact = outcome.store.get_artifact(place) if outcome.store.exists(place) else None
    columns: dict[str, list[Any]] = {"uid": []} | {name: [] for name in node.adds}
    for index in range(len(outcome.manifest.shards)) if node.data == MAIN else ():
        view = ShardView(outcome.store, outcome.manifest, index)
        rows = np.flatnonzero(view.alive(node.alive)).astype(np.uint32)
        columns["uid"] += (rows.astype(np.int64) + view.shard.base).tolist()
        for name in node.adds:
            columns[name] += view.values(outcome.graph.column_of(node.name, name), rows).to_pylist()
    return Given(node, columns, artifact)


def compare(one: Mapping[str, Given], other: Mapping[str, Given], names: tuple[str, str]) -> None:
    """BrokenLaw with the first difference; `names` say what the two runs were.

    Values are equal bit by bit; those of a model are so within its tolerance, and what is computed
    from them is not compared: it is exact given the stored scores, which differ here.
    """
    if one.keys() != other.keys():
        raise BrokenLaw(f"{names[0]} has the nodes {sorted(one)}, {names[1]} {sorted(other)}")
    measured = {name for name, own in one.items() if own.node.shape in MEASURED}
    for name, own in one.items():
        if name in measured:
            tolerance = _tolerance(own.node)
        elif _above(name, one) & measured:
            continue
        else:
            tolerance = 0.0
        _compare(own, other[name], names, tolerance)


def _tolerance(node: Node) -> float:
    operator = node.build()
    return operator.tolerance if isinstance(operator, ScoreOp) else ScoreOp.tolerance


def _above(name: str, nodes: Mapping[str, Given]) -> set[str]:
    found: set[str] = set()
    stack = [name]
    while stack:
        new = {n for n in nodes[stack.pop()].node.needs if n in nodes} - found
        found |= new
        stack += new
    return found


def _compare(one: Given, other: Given, names: tuple[str, str], tolerance: float) -> None:
    what = f"{one.node.name} ({one.node.op})"
    for column, values in one.columns.items():
        for row, (a, b) in enumerate(zip_longest(values, other.columns[column], fillvalue="(no row)")):
            if not close(a, b, tolerance):
                uid = row if column == "uid" else one.columns["uid"][row]
                raise BrokenLaw(
                    f"{what}: {column} of row {uid} is {brief(a)} with {names[0]}, "
                    f"but {brief(b)} with {names[1]}"
                )
    if difference := differing(one.artifact, other.artifact, tolerance):
        raise BrokenLaw(f"{what}: its artifact differs between {names[0]} and {names[1]}: {difference}")


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values are the same bits, or floats within the tolerance (absolute or relative)."""
    if tolerance and isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if tolerance and isinstance(a, float) and isinstance(b, float) and math.isfinite(a) and math.isfinite(b):
        return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    return repr(a) == repr(b)  # nan is nan, -0.0 is not 0.0


def differing(one: Artifact | None, other: Artifact | None, tolerance: float = 0.0) -> str:
    """What differs between two artifacts; empty when nothing does."""
    if one is None or other is None:
        return "" if one is other else "one of them is missing"
    if set(one) != set(other):
        return f"arrays {sorted(one)} and {sorted(other)}"
    for name in one:
        a, b = np.asarray(one[name]), np.asarray(other[name])
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{name} is {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        same = (
            np.allclose(a, b, tolerance, tolerance, equal_nan=True)
            if tolerance and a.dtype.kind not in "SU"  # names are equal or not
            else a.tobytes() == b.tobytes()
        )
        if not same:
            at = tuple(int(i) for i in np.argwhere(a != b)[0]) if (a != b).any() else ()
            return f"{name}{list(at)} is {a[at]} and {b[at]}"
    return ""


def brief(value: Any) -> str:
    """A value for an error message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def fingerprint(one: Mapping[str, Given]) -> str | None:
    """A hash of all that the nodes gave, None where a model gave some of it.

    CPUs round the last bits of a logarithm differently. So of floats six digits count, and of uint64
    (often sort keys that are made of floats) the upper half and the order.
    """
    if any(own.node.shape in MEASURED for own in one.values()):
        return None
    checksum = hashlib.blake2b(digest_size=16)
    for name, own in sorted(one.items()):
        for line in _lines(own):
            checksum.update(f"{name}:{line}\n".encode(errors="surrogatepass"))
    return checksum.hexdigest()


def _lines(own: Given) -> Iterator[str]:
    for column, values in sorted(own.columns.items()):
        dtype = own.node.adds.get(column, pa.int64())
        yield f"{column}:{dtype}:{_rounded(values, dtype == pa.uint64())!r}"
    for key, array in sorted((own.artifact or {}).items()):
        flat = np.asarray(array).ravel().tolist()
        yield f"{key}:{array.dtype}:{array.shape}:{_rounded(flat, array.dtype == np.uint64)!r}"


def _rounded(values: list[Any], sort_keys: bool) -> list[Any]:
    if not sort_keys:
        return [_six_digits(value) for value in values]
    place = {value: at for at, value in enumerate(sorted({v for v in values if v is not None}))}
    return [None if v is None else (place[v], v >> 32) for v in values]


def _six_digits(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return [_six_digits(v) for v in value] if isinstance(value, list) else value
