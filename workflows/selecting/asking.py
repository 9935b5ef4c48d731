"""Files by which people are asked for labels, and the check of what they fill in."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError

_NAMED = 5  # ids that a message names


class Waiting(Exception):
    """Somebody has to answer before it goes on; the message says what and where."""


@dataclass(frozen=True)
class Ask:
    """A file as it is now: (id, label) of each row, the label stripped, empty where there is none."""

    file: Path
    rows: list[tuple[str, str]]

    @classmethod
    def read(cls, file: Path) -> Ask:
        """DataError for a file that is none of ours any more."""
        try:
            text = file.read_text("utf-8-sig")  # spreadsheets put a mark in front
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not UTF-8 text; save it as UTF-8") from error
        if file.suffix == ".jsonl":
            return cls(
                file, [_json_row(file, i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
            )  # not splitlines(), which cuts texts at U+2028 and U+0085 too
        before = csv.field_size_limit(max(len(text), 1 << 17))
        try:
            lines = [row for row in csv.DictReader(io.StringIO(text, newline="")) if any(row.values())]
        except csv.Error as error:
            raise DataError(f"{file} cannot be read as CSV: {error}") from error
        finally:
            csv.field_size_limit(before)
        for name in ("id", "label"):
            if lines and name not in lines[0]:
                raise DataError(f"{file}: no column {name!r}; leave the header as it was written")
        return cls(file, [(row["id"] or "", (row["label"] or "").strip()) for row in lines])


def _json_row(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        label = row["label"]
        return str(row["id"]), "" if label is None else str(label).strip()
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}, line {number}: no object with id and label: {error!r}") from error


def write_ask(
    file: Path, ids: Sequence[str], texts: Sequence[str | None], guess: Sequence[tuple[str, float]]
) -> None:
    """A row for each id, its label to be filled in; written in one step."""
    made = [
        {
            "id": one,
            "label": "",
            "guess": label,
            "confidence": f"{p:.3f}" if label else "",
            "text": text or "",
        }
        for one, text, (label, p) in zip(ids, texts, guess, strict=True)
    ]
    waiting = file.with_suffix(".tmp")
    with waiting.open("w", newline="", encoding="utf-8") as sink:
        if file.suffix == ".jsonl":
            sink.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        else:
            writer = csv.DictWriter(sink, ["id", "label", "guess", "confidence", "text"])
            writer.writeheader()
            writer.writerows(made)
    waiting.replace(file)


def answered(ask: Ask, asked: Sequence[str], allowed: Sequence[str], partial: bool) -> dict[str, str]:
    """id -> label of the rows that were asked.

    allowed: the labels that there are; any, where it is empty. Waiting where labels are missing, unless
    `partial` goes on with those that are there. DataError for rows that are missing, twice there or were
    never asked, and for unknown labels."""
    found = Counter(one for one, _ in ask.rows)
    if twice := [one for one, count in found.items() if count > 1]:
        raise DataError(f"{ask.file}: {_some(twice)} comes twice; leave one row an id")
    if missing := [one for one in asked if one not in found]:
        raise DataError(f"{ask.file}: {len(missing)} rows that were asked are missing: {_some(missing)}")
    if extra := sorted(found.keys() - set(asked)):
        raise DataError(f"{ask.file}: {len(extra)} rows were not asked: {_some(extra)}; are ids as written?")
    labels = {one: label for one, label in ask.rows if label}
    if wrong := {one: label for one, label in labels.items() if allowed and label not in allowed}:
        some = ", ".join(f"{label!r} of {one}" for one, label in list(wrong.items())[:_NAMED])
        known = ", ".join(list(allowed)[:20])
        raise DataError(f"{ask.file}: {len(wrong)} unknown labels: {some}; there are {known} (--labels)")
    empty = [one for one in asked if one not in labels]
    if empty and not (partial and labels):
        raise Waiting(
            f"{len(empty)} of {len(asked)} rows of {ask.file} have no label yet: {_some(empty)}; "
            "fill them in and run this again, or with --partial to go on with the others"
        )
    return labels


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more}"
