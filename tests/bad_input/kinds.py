"""What a kind of bad input is: how it is made, what must become of it, and the page that lists them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

GROUPS = (
    "Files",
    "Rows and columns",
    "JSON Lines",
    "CSV",
    "Config",
    "Paths",
    "Operators",
    "Models, training",
)
NODES = "nodes: {exact: {op: exact_dedup}}\n"
EXPORT = "export: {path: out, dropped: gone}\n"
BIG = (
    ("a row of 200 MB in JSON Lines or Parquet", "read"),
    ("a row of more than 64 MiB in CSV", "exit 3, by `run`"),
    ("100,000 files of one row", "planned"),
    ("a file that may not be read", "exit 3, by `plan`"),
    ("a folder that may not be listed", "exit 2, by `plan`"),
    ("a store or an export that may not be written", "exit 2, by `run`"),
)
Content = bytes | str | pa.Table


@dataclass(frozen=True)
class Kind:
    """gets: the exit code; 0 is an input that looks bad and is read in full, or set aside with a reason.
    says: what the message must have ({folder}: the folder). files: what lies there; `config` the rest.
    lay: makes what files alone cannot. by: `plan` where nothing may run before the refusal, else `run`.
    rows: of code 0: documents in, and what becomes of them; of code 0 `then` tells it for the page."""

    group: str
    what: str
    gets: Literal[0, 2, 3, 4]
    says: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    config: Content = ""
    lay: Callable[[Path], Any] | None = None
    by: Literal["plan", "run"] = "plan"
    rows: Mapping[str, int] = field(default_factory=dict)
    sets: tuple[str, ...] = ()
    then: str = ""
    runs: int = 1

    @property
    def name(self) -> str:
        """For the test's id."""
        return "-".join(self.what.lower().replace("`", "").replace("/", " ").split())[:70]

    def make(self, folder: Path) -> None:
        """Everything in this folder, the config as c.yaml."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pa.Table):
                pq.write_table(content, path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        text = self.config or config()
        assert not isinstance(text, pa.Table)
        (folder / "c.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        if self.lay is not None:
            self.lay(folder)


def docs(count: int = 3, **columns: Any) -> pa.Table:
    """So many different documents; a column given here takes the place of one of that name."""
    ids, texts = [f"d{i}" for i in range(count)], [f"text number {i}" for i in range(count)]
    return pa.table({"id": ids, "text": texts} | columns)


def config(source: str = "{path: '*.parquet', id: id}", nodes: str = NODES, rest: str = EXPORT) -> str:
    return f"source: {source}\n{nodes}{rest}"


def page(kinds: list[Kind]) -> str:
    """BAD_INPUT.md: one table a group."""
    lines = [
        "# Bad input",
        "",
        "What tamis does with input that is wrong, or looks so. Each row is a test that sends it through the "
        "command line",
        "(`tests/bad_input/`): the exit code, words of the message, and that no document is unaccounted for.",
        "",
        "Exit 2: the config or a path is wrong. Exit 3: the data are. `plan`: `tamis plan` refuses it.",
        "The message names the file and the line or row, the value, and what to do.",
        "This page is written by `python tests/bad_input/write_page.py`; a test keeps it so.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group}", "", "| input | what it gets | the message says |", "|---|---|---|"]
        for kind in kinds:
            if kind.group == group:
                lines.append(f"| {_cell(kind.what)} | {_gets(kind)} | {_cell(_says(kind))} |")
    lines += [
        "",
        "## Big, and not readable (`test_big_input.py`)",
        "",
        "| input | what it gets |",
        "|---|---|",
    ]
    lines += [f"| {what} | {gets} |" for what, gets in BIG]
    return "\n".join(lines) + "\n"


def _gets(kind: Kind) -> str:
    if kind.gets:
        return f"exit {kind.gets}, by `{kind.by}`"
    dropped = [f"{count} {name}" for name, count in kind.rows.items() if name not in ("in", "kept")]
    return f"read: {', '.join([str(kind.rows['kept']) + ' of ' + str(kind.rows['in']) + ' kept', *dropped])}"


def _says(kind: Kind) -> str:
    return kind.then or " … ".join(part.replace("{folder}/", "") for part in kind.says)


def _cell(text: str) -> str:
    escaped = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return escaped.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
