"""The way of the rows through the DAG, as steps in order with the rails that join them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]
MOST_SHADES = 3  # of the colour of dropped rows; further reasons share the last


@dataclass(frozen=True)
class Edge:
    """A rail that comes from lane `lane` above and ends at the step; dashed when it carries an artifact."""

    lane: int
    dashed: bool


@dataclass(frozen=True)
class Segment:
    """A part of a bar: a share of the widest bar in percent."""

    kind: str
    label: str
    rows: int
    width: float


@dataclass
class Step:
    """One row of the drawing: a source, a node with its recipe's parts, or an export."""

    name: str
    kind: str  # source, node or export
    node: Node
    lane: int = 0
    above: tuple[Edge, ...] = ()
    passing: tuple[int, ...] = ()  # lanes that run past this step
    leaving: bool = False  # whether a rail goes down from this step
    inputs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    parts: list[Node] = field(default_factory=list)
    tells: list[str] = field(default_factory=list)
    rows_bar: list[Segment] = field(default_factory=list)
    bytes_bar: list[Segment] = field(default_factory=list)


def funnel(run: Mapping[str, Any]) -> tuple[list[Step], int]:
    """The steps in order and the number of lanes that the rails take.

    Parts of recipes are folded into the recipe's own step, and what the plan added for itself into the
    source. A name among the inputs that no node has is a source; a node without inputs reads the only one.
    """
    nodes = list(run.get("nodes") or [])
    faces = [n["name"] for n in nodes if n.get("face", True)]
    owner = {n["name"]: _owner(n, faces) for n in nodes}
    members = {face: [n for n in nodes if owner[n["name"]] == face] for face in faces}
    steps = [_node_step(face, members[face], owner) for face in faces]
    own = [n for n in nodes if owner[n["name"]] not in members]
    steps = _sources(run, steps, own) + steps + _exports(run, owner, faces[-1] if faces else "")
    lanes = _lay_rails(steps)
    _add_bars(steps)
    return steps, lanes


def _owner(node: Node, faces: Sequence[str]) -> str:
    """The step that a node is drawn in: its own, its recipe's, or none ("")."""
    if node.get("face", True):
        return str(node["name"])
    wanted = (node.get("recipe") or "", str(node["name"]).partition("/")[0])
    return next((name for name in wanted if name in faces), "")


def _node_step(face: str, members: Sequence[Node], owner: Mapping[str, str]) -> Step:
    """A step reads what any of its parts reads from outside."""

    def outside(field: str) -> tuple[str, ...]:
        names = (owner.get(i, i.partition("/")[0]) for n in members for i in n.get(field) or [])
        return _unique(n for n in names if n != face)

    inputs = outside("inputs") or ("",)
    parts = [n for n in members if n["name"] != face]
    node = whole(next(n for n in members if n["name"] == face), parts)
    uses = tuple(u for u in outside("uses") if u not in inputs)
    tells = [line for n in members for line in (n.get("tells") or "").splitlines()]
    return Step(face, "node", node, inputs=inputs, uses=uses, parts=parts, tells=tells)


def whole(face: Node, parts: Iterable[Node]) -> Node:
    """A recipe's face with what the recipe got and what all of its parts dropped."""
    dropping = [part for part in parts if part.get("dropped")]
    if not dropping:
        return face
    first = max(dropping, key=lambda part: int(part["rows_in"]))
    came = {name: first.get(name) for name in ("rows_in", "bytes_in", "tokens_in")}
    gone: Counter[str] = Counter()
    for node in (face, *dropping):
        gone.update(node.get("dropped") or {})
    return {**face, **came, "dropped": dict(gone)}


def told(run: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What nodes say of what they found: the config's name of the node, and lines."""
    nodes = [node for node in run.get("nodes") or [] if node.get("tells")]
    return [(str(node["name"]).partition("/")[0], node["tells"].splitlines()) for node in nodes]


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _sources(run: Mapping[str, Any], steps: Sequence[Step], parts: list[Node]) -> list[Step]:
    names = {s.name for s in steps}
    roots = _unique(i for s in steps for i in s.inputs if i not in names) or ("",)
    total = run.get("source") or {}
    if len(roots) == 1:
        book = {"rows_out": total.get("rows"), "bytes_out": first_bytes(run), **total}
        return [Step(roots[0], "source", book, parts=parts)]
    return [Step(name, "source", {}, parts=parts if i == 0 else []) for i, name in enumerate(roots)]


def first_bytes(run: Mapping[str, Any]) -> int | None:
    """Bytes of text that the first nodes read; the source's own figure may be that of compressed files."""
    seen = [n.get("bytes_in") for n in run.get("nodes") or [] if n.get("bytes_in") is not None]
    return max(seen) if seen else (run.get("source") or {}).get("bytes")


def _exports(run: Mapping[str, Any], owner: Mapping[str, str], last: str) -> list[Step]:
    result = []
    for export in run.get("exports") or []:
        node = export.get("node") or last
        book = {k: v for k, v in export.items() if k != "dropped"} | {"rows_out": export.get("rows")}
        name = str(export.get("path") or "").rstrip("/").rpartition("/")[2]
        result.append(Step(name or "export", "export", book, inputs=(owner.get(node, node),)))
    return result


def _lay_rails(steps: Sequence[Step]) -> int:
    """Gives every step its lane. A rail keeps its producer's lane until the last consumer; that one
    takes the lane over. Returns the number of lanes."""
    place = {(s.kind == "export", s.name): i for i, s in enumerate(steps)}
    parents: list[dict[int, bool]] = []
    for i, step in enumerate(steps):
        links = [(n, False) for n in step.inputs] + [(n, True) for n in step.uses]
        above = {place.get((False, name), i): dashed for name, dashed in reversed(links)}
        parents.append({p: dashed for p, dashed in above.items() if p < i})
    last = {p: i for i, above in enumerate(parents) for p in above}
    lanes: list[int | None] = []
    for i, step in enumerate(steps):
        step.above = tuple(Edge(steps[p].lane, dashed) for p, dashed in sorted(parents[i].items()))
        lanes = [None if p is not None and last[p] <= i else p for p in lanes]
        step.passing = tuple(lane for lane, p in enumerate(lanes) if p is not None)
        ending = [steps[p].lane for p in parents[i] if last[p] == i]
        free = [lane for lane, p in enumerate(lanes) if p is None]
        step.lane = min(ending) if ending else (free[0] if free else len(lanes))
        lanes += [None] * (step.lane + 1 - len(lanes))
        step.leaving = i in last
        lanes[step.lane] = i if step.leaving else None
    return max(len(lanes), 1)


def _add_bars(steps: Sequence[Step]) -> None:
    rows = max([1, *(int(s.node.get(k) or 0) for s in steps for k in ("rows_in", "rows_out"))])
    size = max([1, *(int(s.node.get(k) or 0) for s in steps for k in ("bytes_in", "bytes_out"))])
    for step in steps:
        step.rows_bar = _rows_bar(step.node, rows)
        kept, came = step.node.get("bytes_out"), step.node.get("bytes_in")
        if kept is not None:
            step.bytes_bar = [Segment("kept", "kept", kept, 100 * kept / size)]
            if came is not None and came > kept:
                step.bytes_bar.append(Segment("gone", "gone", came - kept, 100 * (came - kept) / size))


def _rows_bar(node: Node, widest: int) -> list[Segment]:
    pieces = [("kept", "kept", int(node.get("rows_out") or 0))]
    dropped = sorted((node.get("dropped") or {}).items(), key=lambda item: -item[1])
    pieces += [(f"gone gone-{min(i, MOST_SHADES)}", reason, int(n)) for i, (reason, n) in enumerate(dropped)]
    if node.get("quarantined"):
        pieces.append(("aside", "quarantined", int(node["quarantined"])))
    return [Segment(kind, label, n, 100 * n / widest) for kind, label, n in pieces if n > 0]
