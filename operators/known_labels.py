"""Labels that somebody keeps in a file, joined to the rows by their ids."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from operators.contract import FilePath, Part, Recipe


class KnownLabels(Recipe):
    """Adds `label` from a file of (id, label), null where it has none, and `known`, whether it has one.

    For labels that grow from round to round, as in active learning: the corpus and what was computed of it
    (embeddings, losses) stay as they are in the store, the file grows, and a run pays only for what depends
    on the labels. What labels a selector needs it reads as `labelled: known`, and `importance` as `group:
    known`, with `keep_rows: {"false": 100, "true": 0}`.

    The file (`label_table`) is Parquet, Arrow, JSONL or CSV, or a glob of them; its content enters the
    identity of the labels, its name does not. A row whose label is null or blank is one that nobody has
    labelled yet. One id in several rows is fine as long as they agree. Labels come as strings, whatever they
    are in the file; ids are compared as text, so 12 is "12". Ids are met by 128-bit hashes.

    ValueError: an id without a value, or with two labels, with its rows in the file; a label longer than 255
    bytes; and, unless `unknown: tell`, an id that no row has. The end of the run and the report tell how many
    rows have which label.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"file": "configs/examples/labels.csv", "unknown": "tell"},
        {"file": "configs/examples/domain_labels.csv", "id": "domain", "label": "kind", "on": "domain"}
        | {"unknown": "tell"},
    )

    file: FilePath
    """The labels: a Parquet, Arrow, JSONL or CSV file, or a glob."""
    id: str = "id"
    """The file's column of ids: strings or integers."""
    label: str = "label"
    """The file's column of labels: strings, integers or booleans."""
    on: str = "id"
    """The rows' column that the file's ids are looked up in; `id` is what the config's source calls so. It
    may be another one, such as a domain: all rows with that value get its label."""
    unknown: Literal["error", "tell"] = "error"
    """What ids are that no row has: an error that names some, or only told, for a corpus that lost rows
    (duplicates, say) after it was labelled."""

    def parts(self) -> list[Part]:
        return [
            Part("table", "label_table", {"id": self.id, "label": self.label}, source=self.file),
            Part("lookup", "label_lookup", {"on": self.on, "unknown": self.unknown}, {"table": "table"}),
        ]
