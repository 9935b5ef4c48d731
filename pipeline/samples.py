"""The texts of dropped documents beside those that were kept for them, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.books import GROUP_NAMES
from pipeline.manifest import Manifest
from pipeline.nodes import common_schema
from pipeline.reader import fetch

MOST_CHARACTERS = 1200


def with_texts(manifest: Manifest, nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The samples that the books chose, with their documents."""
    chosen = [(name, s) for name, counts in nodes.items() for s in counts.get("samples", ())]
    wanted = sorted({u for _, s in chosen for u in (s["uid"], s["kept"]) if u is not None})
    texts = documents(manifest, wanted)
    return [
        {
            "node": name,
            "reason": s["reason"],
            "dropped": texts[s["uid"]],
            "kept": texts.get(s["kept"]),
            "evidence": s["evidence"],
        }
        for name, s in chosen
    ]


def documents(manifest: Manifest, uids: list[int]) -> dict[int, dict[str, Any]]:
    """uid -> {"uid", "id", "domain", "text"} with the text's beginning."""
    if not uids:
        return {}
    names = common_schema(manifest).names
    group = next((n for n in GROUP_NAMES if n in names), None)
    columns = ["text", *(n for n in ("id", group) if n is not None and n in names)]
    rows = fetch(manifest, uids, columns).to_pylist()
    return {
        row["uid"]: {
            "uid": row["uid"],
            "id": row.get("id", row["uid"]),
            "domain": row.get(group) if group else None,
            "text": (row["text"] or "")[:MOST_CHARACTERS],
        }
        for row in rows
    }
