"""Reads a table of training runs: size, tokens, unique tokens, loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from pipeline.budget.laws import Floats
from pipeline.errors import ConfigError, DataError
from pipeline.suggest import did_you_mean


@dataclass(frozen=True)
class Runs:
    """(n,) each: parameters, tokens seen, unique tokens, and the loss (or what else a law predicts)."""

    N: Floats
    D: Floats
    U: Floats
    loss: Floats
    names: tuple[str, ...] = ()
    """What a message calls each run: its name where the table has them, else its row."""

    def __len__(self) -> int:
        return len(self.loss)

    def at(self, keep: Any) -> Runs:
        """Some of the runs."""
        names = tuple(np.array(self.names, object)[keep]) if self.names else ()
        return Runs(self.N[keep], self.D[keep], self.U[keep], self.loss[keep], names)

    @property
    def flops(self) -> Floats:
        return 6 * self.N * self.D


def runs_of(N: Any, D: Any, loss: Any, U: Any = None) -> Runs:
    """Runs from arrays or lists. Raises DataError for values that are not positive and finite."""
    n, d, y = (np.atleast_1d(np.asarray(v, float)) for v in (N, D, loss))
    u = d if U is None else np.atleast_1d(np.asarray(U, float))
    runs = Runs(n, d, u, y, tuple(f"row {i}" for i in range(len(y))))
    _check({"N": n, "D": d, "U": u, "loss": y}, lambda i: f"row {i}")
    return runs


def read_runs(path: str, reads: tuple[str, ...], group: str | None = None) -> dict[str, Runs]:
    """The runs of a Parquet, CSV or JSON Lines file, by the value of the column `group` ("" without one).

    Columns: N parameters; D tokens, or flops from which D = flops / 6 N; U unique tokens (default: D); loss;
    name (optional). reads: what the law needs: N, D, U or x (D, or N where the table has no D).
    """
    table = _table(Path(path))
    rows = _rows(Path(path))
    columns = {
        name: _numbers(table, name, path)
        for name in ("N", "D", "U", "flops", "loss")
        if name in table.schema.names
    }
    _needed(columns, table.schema.names, path, reads)
    _check({f"{path}: {name}": values for name, values in columns.items()}, rows)
    n = columns.get("N", np.ones(len(table)))
    d = (
        columns["D"]
        if "D" in columns
        else columns["flops"] / (6 * n)
        if "flops" in columns
        else np.ones(len(table))
    )
    u = columns.get("U", d)
    if np.any(over := u > d * (1 + 1e-6)):
        i = int(np.argmax(over))
        raise DataError(
            f"{path}: {rows(i)}: U {u[i]:.6g} is more than D {d[i]:.6g}; unique tokens are part of "
            "the tokens seen"
        )
    named = table.column("name").to_pylist() if "name" in table.schema.names else None
    names = tuple(str(named[i]) if named else rows(i) for i in range(len(table)))
    runs = Runs(n, d, np.minimum(u, d), columns["loss"], names)
    if group is None:
        return {"": runs}
    if group not in table.schema.names:
        raise ConfigError(
            f"--group {group}: {path} has no such column{did_you_mean(group, table.schema.names)}"
        )
    values = np.array([str(value) for value in table.column(group).to_pylist()], object)
    return {value: runs.at(values == value) for value in dict.fromkeys(values)}


def _table(path: Path) -> pa.Table:
    readers = {".parquet": pq.read_table, ".csv": pv.read_csv, ".jsonl": pj.read_json, ".json": pj.read_json}
    if path.suffix not in readers:
        raise ConfigError(
            f"{path}: a table of runs is .parquet, .csv or .jsonl, not {path.suffix or 'without ending'}"
        )
    try:
        table: pa.Table = readers[path.suffix](path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; give a table with the columns N, D or flops, and loss"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not table.num_rows:
        raise DataError(f"{path}: has no runs")
    return table


def _rows(path: Path) -> Any:
    """How a row is named: by its line where the file has lines."""
    first = {".csv": 2, ".jsonl": 1, ".json": 1}.get(path.suffix)
    return (lambda i: f"row {i}") if first is None else (lambda i: f"line {i + first}")


def _numbers(table: pa.Table, name: str, path: str) -> Floats:
    column = table.column(name)
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), float)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: the column {name} is {column.type}, not numbers ({error})") from error


def _needed(columns: dict[str, Floats], there: list[str], path: str, reads: tuple[str, ...]) -> None:
    wanted = {"loss"} | ({"N"} if "N" in reads else set())
    if ("D" in reads or "U" in reads) and "D" not in columns:
        wanted |= {"flops", "N"}
    if "x" in reads and not {"D", "N", "flops"} & set(columns):
        wanted |= {"D"}
    for name in sorted(wanted - set(columns)):
        alike = f"; {path} has {', '.join(there)}" if there else ""
        also = " (or D)" if name == "flops" else ""
        raise DataError(f"{path}: no column {name}{also}, which this law needs{alike}")


def _check(columns: dict[str, Floats], rows: Any) -> None:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"columns of different lengths: { {k: len(v) for k, v in columns.items()} }")
    for name, values in columns.items():
        bad = ~(np.isfinite(values) & (values > 0))
        if np.any(bad):
            i = int(np.argmax(bad))
            file, _, column = name.rpartition(": ")
            where = f"{file}: {rows(i)}" if file else rows(i)
            raise DataError(f"{where}: {column} is {values[i]:g}; give a positive number or take the row out")
